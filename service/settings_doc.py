"""Generates ``docs/configuration.md`` from the settings model, so that the two cannot differ.

``python -m service.settings_doc > docs/configuration.md``; a test holds the file against ``render``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from service.settings import ENV_DELIMITER, ENV_PREFIX, MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

_HEAD = """# Configuration

Generated from `service/settings.py` by `python -m service.settings_doc`; do not edit by hand.

`touchstone serve --config FILE` reads one TOML file (else the file that `TOUCHSTONE_CONFIG` names, else
the defaults). An environment variable `TOUCHSTONE_<SECTION>__<KEY>` overrides the file: for example
`TOUCHSTONE_SERVER__LISTEN=0.0.0.0:8443`, `TOUCHSTONE_POLICY__OPA__URL=https://opa.example`; lists are
JSON. Unknown sections and keys are refused in both.

The profile `production`, which is the default, refuses to start with a switch that weakens a verdict.
The profile `development` starts, logs each such switch as a warning and lists it in `/healthz` under
`insecure`.

Secrets are never settings: they are files, named here. In `data_dir` the first start makes `keys/` (the
token-signing keys and their authority, docs/keys-and-certificates.md; the root key that secrets are
encrypted under; the key that signs audit checkpoints) and `admin.token`, all with mode 0600. Back `keys/`
up apart from the database; replicas on one PostgreSQL server need the same `keys/`.
"""


def render() -> str:
    """The whole page."""
    lines = [_HEAD]
    top: list[tuple[str, FieldInfo]] = []
    sections: list[tuple[str, type[BaseModel]]] = []
    for name, field in MODEL.model_fields.items():
        section = _section(field)
        if section is None:
            top.append((name, field))
            sections.extend(_listed(name, field))
        else:
            sections.extend(_with_inner(name, section))
    lines.extend(_table("", top))
    for name, section in sections:
        fields = [(key, field) for key, field in section.model_fields.items() if _section(field) is None]
        summary = (section.__doc__ or "").strip().splitlines()[0]
        lines.extend([f"## {name if name.startswith('[[') else f'[{name}]'}", "", summary, ""])
        lines.extend(_table(name, fields))
    return "\n".join(lines).rstrip() + "\n"


def _with_inner(name: str, section: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield name, section
    for key, field in section.model_fields.items():
        inner = _section(field)
        if inner is not None:
            yield from _with_inner(f"{name}.{key}", inner)
        yield from _listed(f"{name}.{key}", field)


def _listed(name: str, field: FieldInfo) -> Iterator[tuple[str, type[BaseModel]]]:
    """``[[name]]``, where the field is a list of sections; and the lists within."""
    arguments = get_args(field.annotation)
    if arguments and isinstance(arguments[0], type) and issubclass(arguments[0], BaseModel):
        yield f"[[{name}]]", arguments[0]
        for key, inner in arguments[0].model_fields.items():
            yield from _listed(f"{name}.{key}", inner)


def _section(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _table(section: str, fields: list[tuple[str, FieldInfo]]) -> list[str]:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, field in fields:
        variable = ENV_PREFIX + ENV_DELIMITER.join([*section.split("."), key] if section else [key]).upper()
        # Members of a list of tables have no variable of their own: the list's takes it as JSON.
        meaning = f"{field.description}" + ("" if section.startswith("[[") else f" `{variable}`")
        rows.append(f"| `{key}` | {_type(field)} | {_default(field)} | {meaning} |")
    return [*rows, ""]


def _type(field: FieldInfo) -> str:
    text = _type_text(field.annotation)
    bounds = [
        f"{label} {getattr(item, attribute)}"
        for item in field.metadata
        for attribute, label in (("ge", "at least"), ("gt", "above"), ("le", "at most"))
        if hasattr(item, attribute)
    ]
    return f"{text} ({', '.join(bounds)})" if bounds else text


def _type_text(annotation: Any) -> str:
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        keys = ", ".join(f"`{key}`" for key in annotation.model_fields)
        text = f"table ({keys})"
    elif not arguments:
        text = {str: "text", int: "integer", float: "number", bool: "boolean", Path: "path"}[annotation]
    elif all(isinstance(argument, str) for argument in arguments):
        text = " or ".join(f"`{argument}`" for argument in arguments)
    elif origin is dict:
        text = f"table of {_type_text(arguments[1])}"
    elif origin is tuple:
        count = "list" if arguments[-1] is Ellipsis else str(len(arguments))
        text = f"{count} of {_type_text(arguments[0])}"
    else:
        text = _type_text(arguments[0])  # optional: `X | None`
    return text


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if default is None:
        return "none"
    if default is PydanticUndefined:
        return "required"
    plain = (
        [str(item) if isinstance(item, Path) else item for item in default]
        if isinstance(default, tuple)
        else str(default)
        if isinstance(default, Path)
        else default
    )
    return f"`{json.dumps(plain)}`"


if __name__ == "__main__":
    sys.stdout.write(render())
