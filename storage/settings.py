"""Settings from files and command lines: checked by pydantic from dataclasses, refused in one sentence.

A method's numbers, a schedule and the like are frozen dataclasses beside the code that reads them; their
types say what each may be (`storage.constraints`), and `__post_init__` what several may be together.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, ClassVar, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PydanticUserError,
    Strict,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from storage import UserError

Settings = TypeVar("Settings")
Json = Mapping[str, Any]

_KINDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
}
_BOUNDS = {
    "greater_than_equal": "at least",
    "greater_than": "more than",
    "less_than_equal": "at most",
    "less_than": "less than",
}


class Section(BaseModel):
    """Keys with values of which none is unknown, and none is converted to what was expected."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    made: ClassVar[Callable[..., Any]]
    """The dataclass that the section has the fields of, where it has those of one."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, section: Any) -> Any:
        """Return an unknown key comes first: it is most often a misspelling of one that is missing."""
        for key in section if isinstance(section, Mapping) else ():
            if key not in cls.model_fields:
                raise ValueError(f"unknown key {str(key)!r}: expected one of {names(cls.model_fields)}")
        return section

    def make(self) -> Any:
        """Return dataclass with the fields that were given. UserError where they contradict each other."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self).made(
            **{name: value.make() if isinstance(value, Section) else value for name, value in given.items()}
        )


@dataclass(frozen=True)
class FieldsOf:
    """Annotates keys with values: fields of the dataclass at module:Class, imported when there are some.

    `less` are fields that have no place there, `needed` those that must be given. A section that is `whole`,
    which no other one overrides, is also checked for values that contradict each other.
    """

    place: str
    less: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    whole: bool = False

    def model(self) -> type[Section]:
        """Return the pydantic model of the fields."""
        module, _, name = self.place.partition(":")
        return model_of(getattr(importlib.import_module(module), name), self.less, self.needed)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return a section stays as it was given; what is wrong with it is part of the whole's errors."""

        def checked(section: Any) -> Any:
            model = self.model().model_validate(section)
            try:
                if self.whole:
                    model.make()
            except UserError as error:
                raise ValueError(str(error)) from error
            return section

        return core_schema.no_info_plain_validator_function(checked)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        return handler(self.model().__pydantic_core_schema__)


@cache
def model_of(kind: Any, less: tuple[str, ...] = (), needed: tuple[str, ...] = ()) -> type[Section]:
    """Make a pydantic model of the dataclass `kind` but `less`; all but `needed` have defaults.

    UserError where a field is of a type that no setting can have.
    """
    try:
        hints = get_type_hints(kind, include_extras=True)
        known = [field for field in fields(kind) if field.name not in less]
        members = {
            field.name: (_of_lists(hints[field.name]), ... if field.name in needed else _default(field))
            for field in known
        }
        model: type[Section] = create_model(
            kind.__name__, __base__=Section, __doc__=kind.__doc__, **cast(Any, members)
        )
    except (NameError, TypeError, PydanticUserError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{kind.__module__}.{kind.__qualname__} is no dataclass of settings: {reason}"
        ) from error
    model.made = kind
    return model


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return ... if field.default is MISSING else field.default


def _of_lists(hint: Any) -> Any:
    """Convert a type to one for values from files: lists for tuples, keys with values for a dataclass."""
    kind = hint
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if is_dataclass(kind):
        return model_of(cast(Any, kind))
    if get_origin(kind) in (Union, UnionType):
        members: Any = tuple(map(_of_lists, get_args(kind)))
        return Union[members]  # noqa: UP007 (made of a tuple)
    return Annotated[hint, Strict(False)] if get_origin(kind) is tuple else hint


def check(kind: Any, section: Any, where: str, less: tuple[str, ...] = ()) -> None:
    """UserError unless `section`, which stands at `where`, has fields of the dataclass `kind` but `less`."""
    validated(model_of(kind, less), section, where)


def build(kind: Callable[..., Settings], section: Json, where: str, less: tuple[str, ...] = ()) -> Settings:
    """Return the dataclass `kind` with the fields that `section` names, which stands at `where`.

    UserError for a field it does not have or that is not among these, for a value that its type does not
    allow, and for values that contradict each other.
    """
    model = validated(model_of(kind, less), section, where)
    try:
        made: Settings = model.make()
    except UserError as error:
        raise UserError(f"{where}: {str(error).removesuffix('.')}.") from error
    return made


def validated(model: type[Section], section: Any, where: str = "") -> Section:
    """Return the section as `model` has it. UserError with the first thing that is wrong, and its place."""
    try:
        return model.model_validate(section)
    except ValidationError as error:
        raise UserError(_sentence(error, section, where)) from error


def _sentence(error: ValidationError, given: Any, section: str) -> str:
    errors = error.errors(include_url=False)
    place = errors[0]["loc"]
    if not place or place[-1] == "[key]" or _holds(given, place[:-1]):
        return _told(errors[0], place, section)
    # What the value may be instead: the last of the place is pydantic's name of an alternative.
    told = [_told(each, place[:-1], section) for each in errors if each["loc"][:-1] == place[:-1]]
    return " or ".join([told[0].rstrip("."), *(each.rpartition("expected ")[2] for each in told[1:])])


def _holds(given: Any, place: Sequence[int | str]) -> bool:
    """Whether there are keys or a list at a place, as far as it can be followed."""
    for key in place:
        if not isinstance(given, Mapping | list):
            return False
        given = given[cast(Any, key)]
    return isinstance(given, Mapping | list)


def _told(first: ErrorDetails, loc: Sequence[int | str], section: str) -> str:
    kind, value, context, place = first["type"], first["input"], first.get("ctx", {}), list(loc)
    verb = "is"
    if place[-1:] == ["[key]"]:
        place, verb = place[:-2], "has the name"
    where = ".".join(filter(None, [section, *map(str, place)]))
    before = where.rpartition(".")[0]
    if kind == "missing" and isinstance(value, Mapping):
        return f"{before}: the key '{place[-1]}' is missing.".removeprefix(": ")
    if kind == "missing":
        return f"{before} is {value!r}: expected more values."
    if kind == "value_error":
        reason = str(context["error"])
        if not reason.startswith("expected"):
            return f"{where}: {reason}.".removeprefix(": ")
        return f"{where} {verb} {value!r}: {reason}."
    if kind == "too_short":
        return f"{where} is {value or 'empty'}: expected at least {context['min_length']}."
    if kind == "too_long":
        return f"{where} is {value!r}: expected at most {context['max_length']}."
    if kind == "literal_error":
        known = context["expected"].replace("'", "").replace(" or ", ", ")
        if verb != "is":
            return f"{where}: unknown key {value!r}: expected one of {known}."
        return f"{where} is {value!r}: expected one of {known}."
    if kind in _BOUNDS:
        [bound] = context.values()
        return f"{where} is {value!r}: expected {_BOUNDS[kind]} {bound:.15g}."
    expected = f"expected {_KINDS[kind]}" if kind in _KINDS else first["msg"]
    return f"{where or 'it'} {verb} {value!r}: {expected}."


def names(known: Iterable[Any]) -> str:
    """Names as a sentence has them."""
    return ", ".join(str(name) for name in known)
