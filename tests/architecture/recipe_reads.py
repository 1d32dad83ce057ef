"""Which fields of a recipe the source reads: attribute reads, traced to the section they read from.

Sections are followed through annotations (`settings: Ppo`), assignments (`settings = job.recipe.ppo`), loops
(`for source in rewards.sources`) and the types of their own fields.
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
    attributes: Names = {}
    for file in files:
        for node in ast.walk(file):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                attributes.setdefault(node.target.id, set()).update(_annotated(node.annotation, _imported(file)))
    return {
        (owner.__name__, node.attr)
        for file in files
        for scope in _functions(file)
        for names in [_names(scope, _imported(file), attributes)]
        for node in ast.walk(scope)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
        for owner in _sections(node.value, names, attributes)
    }


def _functions(node: ast.AST) -> Iterator[ast.AST]:
    """The outermost functions, whose inner ones share their names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            yield child
        else:
            yield from _functions(child)


def _imported(file: ast.Module) -> dict[str, str]:
    """What the file calls each section it imports."""
    imports = [node for node in ast.walk(file) if isinstance(node, ast.ImportFrom)]
    names = [alias for node in imports if f"{node.module}.".startswith("truing.config.") for alias in node.names]
    return {alias.asname or alias.name: alias.name for alias in names}


def _annotated(annotation: ast.expr, imported: dict[str, str]) -> set[type[Section]]:
    """The sections in an annotation such as `Ppo | None`."""
    names = {imported.get(part.id) for part in ast.walk(annotation) if isinstance(part, ast.Name)}
    return {SECTIONS[name] for name in names if name in SECTIONS}


def _names(scope: ast.AST, imported: dict[str, str], attributes: Names) -> Names:
    """The names in a function that hold a section."""
    names: Names = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.arg) and node.annotation:
            names[node.arg] = _annotated(node.annotation, imported)
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
