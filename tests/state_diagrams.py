"""The pictures in docs/states.md, made of the tables that the code asks: `python -m tests.state_diagrams` writes them anew."""

from __future__ import annotations

import pathlib
from typing import Any

from controller.model import status

PAGE = pathlib.Path(__file__).parent.parent / "docs/states.md"
LIVES: dict[str, status.Transitions[Any]] = {"load balancers": status.LOAD_BALANCER, "children": status.CHILD, "amphorae": status.AMPHORA}


def diagram(life: status.Transitions[Any]) -> str:
    """One life, as Mermaid draws it."""
    rows = [f"    {row.old or '[*]'} --> {row.new or '[*]'}: {row.reason}" for row in life.rows]
    return "\n".join(["```mermaid", "stateDiagram-v2", *rows, "```"])


def operating() -> str:
    """What can be seen of each kind of object."""
    columns = list(status.OperatingStatus)
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " :-: |" * len(columns)]
    for kind, allowed in status.OPERATING.items():
        lines.append(f"| {kind.replace('_', ' ')} | " + " | ".join("yes" if one in allowed else "" for one in columns) + " |")
    return "\n".join(lines)


def filled(page: str) -> str:
    """The page with its pictures as they are to be. Each stands between two comments that name it."""
    for name, text in {**{name: diagram(life) for name, life in LIVES.items()}, "operating": operating()}.items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"{PAGE.name} has no place for {name}: it is marked by {begin.strip()} and {end.strip()}")
        page = before + begin + text + end + after
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
