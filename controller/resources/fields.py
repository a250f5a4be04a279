"""One field of a resource: all that there is to say about it, said once.

A `Field` that is no more than a name, a kind and a sentence is accepted by POST and PUT, stored in the column of its name, shown, and
can be filtered by. Everything else about it is a keyword.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from controller.model.network import DIRECT, NORMAL
from controller.model.status import OperatingStatus, ProvisioningStatus
from controller.refusals import Refusal
from controller.resources import kinds

SAME: Final = object()
"""For `Field.null`: an explicit null is what is stored when the field is left out."""
REFUSED: Final = object()
"""For `Field.null`: an explicit null is a value like others, which the kind refuses or takes."""
ABSENT: Final = object()
"""For `Field.default`: what is left out stays out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operator:
    """The option of the configuration that says what is stored where a client leaves the field out, or gives null.

    `conf/declared.py` makes the option of this and of the field's kind. What it says holds in every object, or with `always=False` where
    a rule says so.
    """

    group: str
    option: str
    default: Any
    help: str
    lowest: int | None = None  # if the operator may choose less freely than clients
    always: bool = True


@dataclasses.dataclass(frozen=True)
class Field:
    """One attribute of a resource."""

    name: str
    kind: kinds.Parser = kinds.name
    about: str = ""  # for users of the API, in the OpenAPI document
    _: dataclasses.KW_ONLY
    example: Any = None  # there, too; if the kind's own says too little. Requests that are shown as examples have it
    post: bool = True
    put: bool = True
    admin: bool = False  # only administrators may ask for it; everybody may say that they don't
    required: bool = False  # by POST; a PUT may leave it out, but not null it
    default: Any = None  # what POST stores when it is left out; or `ABSENT`
    operator: Operator | None = None  # ... or what the operator says
    filled: bool = False  # ... or what we find: in the row it is never null
    null: Any = SAME  # what an explicit null stores, if that is not the default; or `REFUSED`
    blank: str | int | None = None  # this value in a PUT means null: so do clients unset what has no null in their language
    alias: str | None = None  # a second name, accepted and shown like the first
    filter_alias: str | None = None  # a second name for filters only
    column: str | None = ""  # where it is stored; "": in the column of its name, None: nowhere
    attribute: str | None = ""  # of the noun, may have dots; "": of its name, None: it is not shown
    show: Callable[[Any], Any] | None = None  # from the attribute to the JSON value
    hidden: bool = False  # accepted, never shown
    ignored: bool = False  # accepted without effect
    added: bool = False  # ours alone: answers have it only while it is set, for clients of the compatible API do not expect it
    refusal: Refusal = Refusal.INVALID_FIELD  # of a value that is not of its kind
    lbaasv2: Mapping[str, Any] | None = None  # LBaaS v2 has it also, with these keywords otherwise: `also()`; None: it has not

    def __post_init__(self) -> None:
        """Settle what follows from the name."""
        for which in ("column", "attribute"):
            if getattr(self, which) == "":
                object.__setattr__(self, which, self.name)

    @property
    def names(self) -> tuple[str, ...]:
        """Its name, and the second one if it has one."""
        return (self.name,) if self.alias is None else (self.name, self.alias)

    @property
    def is_shown(self) -> bool:
        """Whether answers have it."""
        return not self.hidden and self.attribute is not None

    @property
    def is_never_null(self) -> bool:
        """Whether every stored object has a value."""
        by_operator = self.operator is not None and self.operator.always
        return self.required or self.filled or by_operator or self.default not in (None, ABSENT)


def also(**otherwise: Any) -> Mapping[str, Any]:
    """For `Field.lbaasv2`: the field is there too, but for these keywords."""
    return otherwise


def read_only(name: str, kind: kinds.Parser = kinds.name, about: str = "", **keywords: Any) -> Field:
    """A field that only we write."""
    return Field(name, kind, about, post=False, put=False, **keywords)


def vnic_type(name: str, about: str, **keywords: Any) -> Field:
    """How a port is made; the same for all that say nothing."""
    return read_only(name, kinds.one_of(NORMAL, DIRECT), about, default=NORMAL, **keywords)


def related(name: str, attribute: str, about: str, show: Callable[[Any], Any] = kinds.ids) -> Field:
    """References to other objects, which stand in rows of theirs. LBaaS v2 shows them, too."""
    return read_only(name, about=about, column=None, attribute=attribute, show=show, lbaasv2=also())


def loosened(field: Field) -> Field:
    """The field, which may be left out."""
    return dataclasses.replace(field, required=False)


def timestamp(name: str, about: str = "") -> Field:
    """When something happened."""
    return read_only(name, kinds.timestamp, f"{about} In UTC." if about else "", show=kinds.naive)


def certificate_end(what: str) -> Field:
    """When the first of the certificates that an object shows runs out. We write it down when one is read, so nobody is asked about it."""
    about = f"When the first of {what} runs out. In UTC. Only there while it has one that is known."
    return read_only("certificate_expires_at", kinds.timestamp, about, show=kinds.naive, added=True)


def common(*, description: bool = True, project: bool = True) -> tuple[Field, ...]:
    """What every resource of a project has; `project=False`: the one of its parent is taken, whatever the body says."""
    fields = (
        read_only("id", kinds.uuid, "The id of the object.", lbaasv2=also()),
        Field("name", about="A name for people. It need not be unique.", default="", example="shop", lbaasv2=also()),
        Field("description", kinds.description, "What the object is for, in words for people.", default="", lbaasv2=also()),
        Field(
            "admin_state_up",
            kinds.boolean,
            "Whether it is switched on. What is switched off is kept as it is, and serves nobody.",
            default=True,
            lbaasv2=also(),
        ),
        Field(
            "project_id",
            kinds.text(36),
            "The project that owns it. An object below another one belongs to the project of that one.",
            example="b7f3c1d2e4a5468f9c0d1e2f3a4b5c6d",
            alias="tenant_id",
            put=False,
            filled=True,
            lbaasv2=also(),
        ),
        Field("tags", kinds.tags, "Words to find it by in lists.", default=[], column=None),
        read_only(
            "provisioning_status",
            kinds.one_of(*ProvisioningStatus, example=ProvisioningStatus.ACTIVE),
            "How far the newest change has come: PENDING_* while it is under way, then ACTIVE, or ERROR if it has failed.",
        ),
        read_only("operating_status", kinds.one_of(*OperatingStatus), "How it fares now, as health checks and amphorae report it."),
        timestamp("created_at", "When it was created."),
        timestamp("updated_at", "When it, or what is below it, last changed; null: never."),
    )
    wanted = fields if description else tuple(field for field in fields if field.name != "description")
    return (
        wanted if project else tuple(dataclasses.replace(field, ignored=True) if field.name == "project_id" else field for field in wanted)
    )
