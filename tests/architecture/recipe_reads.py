"""Which fields of a recipe the source reads: attribute reads, traced to the section they read from.

Sections are followed through annotations (`settings: Ppo`, or a protocol that Ppo suits), assignments
(`settings = job.recipe.ppo`, `self._settings = settings`), loops (`for source in rewards.sources`) and the types of
their own fields. A `getattr` by a name that is computed may be of any field that is a section.
"""

import ast
from collections.abc import Iterator

from truing.config.messages import section_in
from truing.config.recipe import Recipe
from truing.config.sections import Section


def _sections_of(section: type[Section]) -> Iterator[type[Section]]:
    """The section and all that it has inside."""
    yield section
    for field in section.model_fields.values():
        inner = section_in(field.annotation)
        if inner is not None:
            yield from _sections_of(inner)


SECTIONS = {section.__name__: section for section in _sections_of(Recipe)}
Names = dict[str, set[type[Section]]]
"""What each name in a scope may be"""


def fields_read(files: list[ast.Module]) -> set[tuple[str, str]]:
    """(section, field) for each that is read anywhere in these files."""
    protocols = _protocols(files)
    known_in = [(file, _imported(file) | protocols) for file in files]
    scopes = [(scope, known) for file, known in known_in for scope in _functions(file)]
    attributes: Names = {}
    for file, known in known_in:
        for node in ast.walk(file):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                attributes.setdefault(node.target.id, set()).update(_annotated(node.annotation, known))
    for scope, known in scopes:
        names = _names(scope, known, attributes)
        for target, value in _bindings(scope):
            if isinstance(target, ast.Attribute):
                attributes.setdefault(target.attr, set()).update(_sections(value, names, attributes))
    return {read for scope, known in scopes for read in _reads(scope, _names(scope, known, attributes), attributes)}


def _reads(scope: ast.AST, names: Names, attributes: Names) -> Iterator[tuple[str, str]]:
    for node in ast.walk(scope):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield from ((owner.__name__, node.attr) for owner in _sections(node.value, names, attributes))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            for owner in _sections(node.args[0], names, attributes):
                fields = owner.model_fields.items()
                yield from ((owner.__name__, name) for name, field in fields if section_in(field.annotation))


def _functions(node: ast.AST) -> Iterator[ast.AST]:
    """The outermost functions, whose inner ones share their names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            yield child
        else:
            yield from _functions(child)


def _imported(file: ast.Module) -> Names:
    """What the file calls each section it imports."""
    imports = [node for node in ast.walk(file) if isinstance(node, ast.ImportFrom)]
    names = [alias for node in imports if f"{node.module}.".startswith("truing.config.") for alias in node.names]
    return {alias.asname or alias.name: {SECTIONS[alias.name]} for alias in names if alias.name in SECTIONS}


def _protocols(files: list[ast.Module]) -> Names:
    """Each protocol of properties, with the sections that have them all."""
    classes = [node for file in files for node in ast.walk(file) if isinstance(node, ast.ClassDef)]
    properties = {
        node.name: {part.name for part in node.body if isinstance(part, ast.FunctionDef) and part.decorator_list}
        for node in classes
        if "Protocol" in map(ast.unparse, node.bases)
    }
    return {
        name: {section for section in SECTIONS.values() if fields <= section.model_fields.keys()}
        for name, fields in properties.items()
        if fields
    }


def _annotated(annotation: ast.expr, known: Names) -> set[type[Section]]:
    """The sections in an annotation such as `Ppo | None`."""
    parts = [part.id for part in ast.walk(annotation) if isinstance(part, ast.Name)]
    return {section for part in parts for section in known.get(part, set())}


def _names(scope: ast.AST, known: Names, attributes: Names) -> Names:
    """The names in a function that hold a section."""
    names: Names = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.arg) and node.annotation:
            names[node.arg] = _annotated(node.annotation, known)
    for target, value in _bindings(scope):
        if isinstance(target, ast.Name):
            names.setdefault(target.id, set()).update(_sections(value, names, attributes))
    return names


def _bindings(scope: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Target and value of every assignment and loop, pairs taken apart."""
    for node in ast.walk(scope):
        if isinstance(node, ast.For | ast.comprehension):
            yield node.target, node.iter
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                apart = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                yield from zip(target.elts, node.value.elts, strict=True) if apart else [(target, node.value)]


def _sections(node: ast.expr, names: Names, attributes: Names) -> set[type[Section]]:
    """The sections that an expression may be."""
    if isinstance(node, ast.Name):
        return names.get(node.id, set())
    if not isinstance(node, ast.Attribute):
        return set()
    owners = _sections(node.value, names, attributes)
    if not owners:
        return attributes.get(node.attr, set())
    inner = {
        section_in(owner.model_fields[node.attr].annotation) for owner in owners if node.attr in owner.model_fields
    }
    return {section for section in inner if section}
