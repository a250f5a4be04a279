"""The DevStack plug-in and what it speaks of: options that exist, settings that are explained, entry points in their order."""

from __future__ import annotations

import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
from oslo_config import cfg

from controller import conf as configuration
from controller.api import keystone, policy

ROOT = pathlib.Path(__file__).resolve().parents[2] / "devstack"
SCRIPTS = [ROOT / "plugin.sh", *sorted((ROOT / "lib").iterdir())]
SETTINGS = (ROOT / "settings").read_text()
PAGE = (ROOT / "README.md").read_text()
_OTHERS = {"oslo_middleware": {"enable_proxy_headers_parsing"}}
"""Options of libraries that read the file by themselves."""
_FOLLOW = {
    "OCTAVIA_DIR",
    "OCTAVIA_CONF_DIR",
    "OCTAVIA_CONF",
    "FIGLINA_CONF",
    "OCTAVIA_SSH_KEY_TYPE",
    "OCTAVIA_SSH_KEY_BITS",
    "OCTAVIA_ADMIN_USER",
}
"""Names that follow from others, and older names of some."""


def _options() -> dict[str, set[str]]:
    conf = cfg.ConfigOpts()
    configuration.register(conf)
    known = {"DEFAULT": set(conf)}
    for list_opts in (configuration.list_opts, keystone.list_opts, policy.list_opts):
        for group, options in list_opts():
            known.setdefault(str(group), set()).update(option.dest for option in options)
    return known


def _written() -> list[tuple[str, str, str]]:
    """File, section and option of every `iniset` of our configuration; a section that is a variable of a loop is each of its words."""
    found = []
    for script in SCRIPTS:
        text = script.read_text()
        for section, option in re.findall(r'iniset "\$FIGLINA_CONF" (\S+) (\w+) ', text):
            sections = [section]
            if section == '"$section"':
                sections = re.search(r"for section in ([\w ]+);", text)[1].split()  # type: ignore[index]
            found += [(script.name, one, option) for one in sections]
    return found


def test_there_is_something_to_check() -> None:
    assert len(_written()) > 40


@pytest.mark.parametrize(("script", "section", "option"), _written())
def test_an_option_that_is_written_is_one_of_ours(script: str, section: str, option: str) -> None:
    known = _options()
    assert option in known.get(section, set()) | _OTHERS.get(section, set()), f"{script} writes [{section}] {option}, which nobody reads"


def _settings() -> set[str]:
    return set(re.findall(r"^((?:OCTAVIA|FIGLINA|DISABLE)_\w+)=", SETTINGS, re.MULTILINE))


def test_every_setting_is_explained_and_every_explained_one_is_there() -> None:
    explained = set(re.findall(r"\b((?:OCTAVIA|FIGLINA|DISABLE)_[A-Z0-9_]+)\b", PAGE)) - _FOLLOW
    assert explained - {"FIGLINA_AMP_IMAGE_FILE"} == _settings() - _FOLLOW


def test_every_setting_is_used_and_every_used_one_is_a_setting() -> None:
    used = set()
    for script in SCRIPTS:
        used |= set(re.findall(r"\b((?:OCTAVIA|FIGLINA|DISABLE)_[A-Z0-9_]+)\b", script.read_text()))
    assert used - _settings() == set(), "used, and set nowhere"
    assert _settings() - used - _FOLLOW == set(), "set, and used nowhere"


@pytest.mark.parametrize("library", [path for path in SCRIPTS if path.parent.name == "lib"], ids=lambda path: path.name)
def test_the_head_of_a_library_lists_its_entry_points_in_order(library: pathlib.Path) -> None:
    """As DevStack's own libraries do."""
    text = library.read_text()
    listed = re.findall(r"^# - (\w*figlina\w*)$", text, re.MULTILINE)
    assert listed == re.findall(r"^function ([a-z]\w*) {$", text, re.MULTILINE)


# What the scripts need of DevStack, in short; `tests/cloud/test_devstack.py` has the real thing.
_DEVSTACK = r"""
declare -A GITDIR
DEST=/nowhere DATA_DIR=$PWD/data SERVICE_HOST=192.0.2.1 SERVICE_PASSWORD=s SERVICE_PROJECT_NAME=service SERVICE_DOMAIN_NAME=Default
FIGLINA_DIR={root} FIGLINA_CONF_DIR=$PWD/conf
function define_plugin {{ :; }}
function get_python_exec_prefix {{ echo /usr/local/bin; }}
function trueorfalse {{ local said=${{!2}}; case "${{said:-$1}}" in True|true|1|yes) echo True;; *) echo False;; esac; }}
function enable_service {{ ENABLED_SERVICES+=",${{*// /,}}"; echo "enabled $*"; }}
function is_service_enabled {{ [[ " ${{ENABLED_SERVICES//,/ }} " == *" $1 "* ]]; }}
function is_plugin_enabled {{ [[ ",$DEVSTACK_PLUGINS," == *",$1,"* ]]; }}
function die {{ shift; echo "$*" >&2; exit 1; }}
function warn {{ shift; echo "$*" >&2; }}
function iniset {{ echo "iniset $2 $3 $4"; }}
function ipv6_unquote {{ echo "$1" | tr -d '[]'; }}
SERVICE_LISTEN_ADDRESS=0.0.0.0
mkdir -p conf
"""


def _script(tmp_path: pathlib.Path, settings: str, act: str) -> subprocess.CompletedProcess[str]:
    plugin = shlex.quote(str(ROOT))
    words = (
        _DEVSTACK.format(root=shlex.quote(str(ROOT.parent))) + f"{settings}\nsource {plugin}/settings\nsource {plugin}/lib/figlina\n{act}\n"
    )
    return subprocess.run(["bash", "-c", words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=20)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("DEVSTACK_PLUGINS=octavia,figlina", "take enable_plugin octavia out"),
        ("OCTAVIA_LB_TOPOLOGY=TRIPLE", "say SINGLE or ACTIVE_STANDBY"),
        ("FIGLINA_POLICY=mine", "load-balancer-roles"),
        ("OCTAVIA_USE_PREGENERATED_CERTS=True", "OCTAVIA_PREGENERATED_CERTS_DIR"),
        ("OCTAVIA_NODE=main", "openssl rand -hex 32"),
        ("OCTAVIA_NODE=second", "openssl rand -hex 32"),
    ],
)
def test_what_can_not_work_is_refused_before_anything_is_installed(tmp_path: pathlib.Path, settings: str, sentence: str) -> None:
    done = _script(tmp_path, settings, "check_figlina_settings")
    assert done.returncode == 1
    assert sentence in done.stderr


@pytest.mark.parametrize("settings", ["", "OCTAVIA_LB_TOPOLOGY=ACTIVE_STANDBY", "OCTAVIA_USE_LEGACY_RBAC=True", "OCTAVIA_NODE=api"])
def test_what_can_work_is_taken(tmp_path: pathlib.Path, settings: str) -> None:
    done = _script(tmp_path, settings, "check_figlina_settings")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("node", "units", "port"),
    [
        ("standalone", {"o-api", "o-cw", "o-hm", "o-hk"}, "9876"),
        ("api", {"o-api"}, "9876"),
        ("main", {"o-api", "o-cw", "o-hm", "o-hk", "o-api-ha"}, "9875"),
        ("second", {"o-api", "o-cw", "o-hm", "o-hk"}, "9875"),
    ],
)
def test_each_node_runs_its_part(tmp_path: pathlib.Path, node: str, units: set[str], port: str) -> None:
    done = _script(tmp_path, f"OCTAVIA_NODE={node}", '_figlina_api_port; echo "$ENABLED_SERVICES" | tr , "\n"')
    lines = done.stdout.split()
    assert units <= set(lines)
    assert not {"o-api", "o-cw", "o-hm", "o-hk", "o-api-ha"} - units & set(lines)
    assert port in lines


def test_haproxy_of_the_main_node_hands_over_to_each_node(tmp_path: pathlib.Path) -> None:
    nodes = "OCTAVIA_NODE=main OCTAVIA_NODES=main:192.0.2.1,second:192.0.2.2"
    done = _script(tmp_path, nodes, "_figlina_configure_api_haproxy")
    assert done.returncode == 0, done.stderr
    written = tmp_path / "conf" / "api-haproxy.cfg"
    assert re.findall(r"server (\S+ \S+)", written.read_text()) == ["main 192.0.2.1:9875", "second 192.0.2.2:9875"]
    if haproxy := shutil.which("haproxy", path="/usr/sbin:/usr/bin"):
        checked = subprocess.run([haproxy, "-c", "-f", written], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(("address", "bind"), [("0.0.0.0", "0.0.0.0:9876"), ("[::]", ":::9876")])
def test_haproxy_listens_where_services_of_this_host_do(tmp_path: pathlib.Path, address: str, bind: str) -> None:
    """By IPv6 where DevStack's `SERVICE_IP_VERSION` is 6."""
    done = _script(tmp_path, "OCTAVIA_NODE=main", f"SERVICE_LISTEN_ADDRESS={address}; _figlina_configure_api_haproxy")
    assert done.returncode == 0, done.stderr
    written = tmp_path / "conf" / "api-haproxy.cfg"
    assert re.findall(r"bind (\S+)", written.read_text()) == [bind]
    if haproxy := shutil.which("haproxy", path="/usr/sbin:/usr/bin"):
        checked = subprocess.run([haproxy, "-c", "-f", written], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_our_own_api_speaks_http_behind_a_proxy_that_ends_tls(tmp_path: pathlib.Path) -> None:
    """Which has the port of the catalogue, on this host, too."""
    act = """
    API_WORKERS=1 SERVICE_TIMEOUT=60 FIGLINA_POLICY= ENABLED_SERVICES=o-api
    function wait_for_service { echo "asked $2"; }
    function run_process { :; }
    _figlina_configure_api
    start_figlina
    """
    told = _script(tmp_path, "OCTAVIA_PROTOCOL=https", act).stdout.splitlines()
    assert "asked http://192.0.2.1:9875/healthcheck" in told
    assert "iniset api_settings bind_port 9875" in told
    assert "iniset oslo_middleware enable_proxy_headers_parsing True" in told


def test_the_key_of_heartbeats_is_made_once_and_no_one_else_may_read_it(tmp_path: pathlib.Path) -> None:
    made = "mkdir -p data/figlina; function generate_hex_string { echo $RANDOM$RANDOM; }; _figlina_health_key; _figlina_health_key"
    first, second = _script(tmp_path, "", made).stdout.split()[-2:]
    assert first == second
    assert (tmp_path / "data" / "figlina" / "heartbeat.key").stat().st_mode & 0o077 == 0
    assert _script(tmp_path, "OCTAVIA_HEALTH_KEY=mine", "_figlina_health_key").stdout.split()[-1] == "mine"


def test_only_what_was_made_is_taken_back_the_newest_first(tmp_path: pathlib.Path) -> None:
    """What can't be deleted is kept in mind for the next time."""
    act = """
    for words in "file image" "role one" "keypair mine" "keypair mine" "port p"; do _figlina_made $words; done
    function _figlina_openstack { echo "$*" >> asked; [[ "$1" != keypair ]]; }
    function openstack { echo "$*" >> asked; }
    forget_figlina_cloud
    """
    done = _script(tmp_path, "", act)
    assert (tmp_path / "asked").read_text().splitlines() == [
        "port delete p",
        "keypair delete mine",
        "--os-cloud devstack-system-admin role delete one",
    ]
    assert "keypair mine" in done.stderr
    assert (tmp_path / "data" / "figlina" / "made").read_text() == "file image\nkeypair mine\n"


def test_only_an_image_of_our_own_project_gets_our_name(tmp_path: pathlib.Path) -> None:
    """An administrator's list has those of every project: one that another service of load balancers boots keeps its name, and its life."""
    act = """
    function iniget { [[ "$3" == amp_image_owner_id ]] && echo our-project; }
    function _figlina_openstack {
        echo "$*" >> asked
        if [[ "$1 $2" == "image list" && "$*" != *"owner=our-project"* ]]; then echo theirs; fi
        if [[ "$1 $2" == "image list" ]]; then echo ours; fi
    }
    _figlina_name_image
    """
    done = _script(tmp_path, "", act)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "figlina" / "made").read_text() == "image ours\n"
    assert "theirs" not in (tmp_path / "asked").read_text()
