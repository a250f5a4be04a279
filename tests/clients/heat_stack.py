"""Heat's engine, in its own environment: makes the stack that each line of the standard input names (a template, or null for its end).

The answer, a line each: `{"status": ..., "resources": {name: {attribute: value}}}`. Engine, resources and clients are Heat's, in one
process and over a database of its own; Keystone and the catalogue are those of the OS_ variables.
"""

import json
import logging
import os
import sys
from typing import Any

from heat.common import config, context, messaging
from heat.db import api as db_api
from heat.db import models
from heat.engine import resources, stack, template
from oslo_config import cfg


def main() -> None:
    """Answer until the standard input ends; the first argument is a folder for the database."""
    logging.basicConfig(filename=f"{sys.argv[1]}/heat.log", level=logging.INFO)
    ctx = _context(sys.argv[1])
    made: stack.Stack | None = None
    for line in sys.stdin:
        wanted = json.loads(line)
        if wanted is None:
            assert made is not None
            made = stack.Stack.load(ctx, stack_id=made.id)
            made.delete()
        elif made is None:
            made = stack.Stack(ctx, "day", template.Template(wanted))
            made.validate()
            made.store()
            made.create()
        else:
            made.update(stack.Stack(ctx, "day", template.Template(wanted)))
        answer = {"status": f"{made.action}_{made.status}", "reason": made.status_reason}
        if wanted is not None:
            loaded = stack.Stack.load(ctx, stack_id=made.id)  # as the engine does for whoever asks for its outputs
            loaded._update_all_resource_data(True, True)
            answer["resources"] = _seen(loaded)
        print(json.dumps(answer), flush=True)


def _seen(made: stack.Stack) -> dict[str, dict[str, Any]]:
    found = {}
    for name, resource in made.resources.items():
        attributes = [word for word in resource.attributes_schema if word != "show"]
        found[name] = {word: resource._resolve_attribute(word) for word in attributes} | {"show": resource._show_resource()}
    return found


def _context(folder: str) -> context.RequestContext:
    cfg.CONF(["--config-file", os.devnull], project="heat", prog="heat-engine", default_config_files=[])
    config.set_config_defaults()
    cfg.CONF.set_override("connection", f"sqlite:///{folder}/heat.db", group="database")
    cfg.CONF.set_override("auth_encryption_key", "0123456789abcdef0123456789abcdef")
    cfg.CONF.set_override("deferred_auth_method", "password")  # no trusts: nobody goes on with the stack later
    cfg.CONF.set_override("backend", "oslo_cache.dict", group="cache")
    cfg.CONF.set_override("region_name_for_services", os.environ["OS_REGION_NAME"])
    cfg.CONF.set_override("auth_uri", os.environ["OS_AUTH_URL"], group="clients_keystone")
    messaging.setup("fake://", optional=True)
    resources.initialise()
    ctx = context.RequestContext(
        username=os.environ["OS_USERNAME"],
        password=os.environ["OS_PASSWORD"],
        project_id=os.environ["OS_PROJECT_ID"],
        user_domain_id="default",
        auth_url=os.environ["OS_AUTH_URL"],
        region_name=os.environ["OS_REGION_NAME"],
        is_admin=False,
    )
    models.BASE.metadata.create_all(db_api.get_engine())
    return ctx


if __name__ == "__main__":
    main()
