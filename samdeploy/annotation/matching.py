"""Which of the files that boxes are for is which image."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

from samdeploy.errors import InputError
from samdeploy.text import shown


def fold(name: str) -> str:
    """The same text for names that are one on a file system which does not tell cases, or forms of
    Unicode, apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


@dataclass(frozen=True)
class Matches:
    """Things that belong together, by file names.

    Attributes:
        of: image to what is given for it.
        alone: images that nothing is given for.
        unused: what is given for no image.
        renamed: images that are matched although the ending differs.
    """

    of: Mapping[str, str]
    alone: Sequence[str]
    unused: Sequence[str]
    renamed: Sequence[str]

    def without(self, name: str) -> Matches:
        """The same, but ``name`` is not given."""
        return replace(self, unused=[each for each in self.unused if each != name])


def match(images: Sequence[Path], given: Sequence[str], origin: str, *, stems: bool) -> Matches:
    """Match ``given`` names (of files, perhaps with folders, of any system) with ``images``.

    The closest counts: the same name, then one that differs in case, then in the ending too.
    ``stems``: only what is before the ending is compared. Of several that are equally close, that
    counts which shares more folders with the image.

    Raises:
        InputError: two are equally close to an image; ``origin`` is where they are given.
    """
    parts = {name: _parts(name) for name in given}
    keys = _STEMS if stems else _NAMES
    tables: list[dict[str, list[str]]] = [{} for _ in keys]
    for key, table in zip(keys, tables, strict=True):
        for name in given:
            table.setdefault(key(parts[name][-1]), []).append(name)
    of: dict[str, str] = {}
    renamed: list[str] = []
    for image in images:
        for key, table in zip(keys, tables, strict=True):
            if found := table.get(key(image.name)):
                of[image.name] = _closest(image, found, parts, origin)
                if not stems and key is _folded_stem:
                    renamed.append(image.name)
                break
    used = set(of.values())
    return Matches(
        of,
        [image.name for image in images if image.name not in of],
        [name for name in given if name not in used],
        renamed,
    )


def _closest(
    image: Path, found: Sequence[str], parts: Mapping[str, tuple[str, ...]], origin: str
) -> str:
    if len(found) == 1:
        return found[0]
    folders = image.absolute().parts[:-1]
    shared = [_common_end(folders, parts[name][:-1]) for name in found]
    best = [name for name, count in zip(found, shared, strict=True) if count == max(shared)]
    if len(best) > 1:
        raise InputError(
            f"{origin} has {shown(best[0])} and {shown(best[1])}, and either may be of "
            f"'{image.name}'; rename or remove one."
        )
    return best[0]


def _common_end(folders: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for one, two in zip(reversed(folders), reversed(other), strict=False):
        if fold(one) != fold(two):
            break
        count += 1
    return count


def _parts(name: str) -> tuple[str, ...]:
    """With slashes of either kind."""
    return PureWindowsPath(name).parts or (name,)


def _same(name: str) -> str:
    return name


def _stem(name: str) -> str:
    return PureWindowsPath(name).stem


def _folded_stem(name: str) -> str:
    return fold(_stem(name))


#: What has to be equal, from the closest match on.
_NAMES: tuple[Callable[[str], str], ...] = (_same, fold, _folded_stem)
_STEMS: tuple[Callable[[str], str], ...] = (_stem, _folded_stem)


def examples(names: Sequence[str]) -> str:
    """One or two of the names, in quotes."""
    few = " and ".join(f"'{name}'" for name in names[:2])
    return few if len(names) <= 2 else f"{few}, among others"


def count_of(number: int, one: str, many: str) -> str:
    """A number and its noun."""
    return f"{number} {one if number == 1 else many}"


def describe(
    matches: Matches, images: int, origin: str, what: tuple[str, str], unmatched: float
) -> list[str]:
    """Sentences on what did not match; ``what`` is given, one and many.

    Raises:
        InputError: nothing is given for more than a share ``unmatched`` of the images.
    """
    alone = len(matches.alone)
    if not matches.of or alone > unmatched * images:
        other = (
            f", while {count_of(len(matches.unused), *what)} "
            f"({examples(matches.unused)}) match no image"
            if matches.unused
            else ""
        )
        advice = (
            f"; at most a share of unmatched={unmatched:g} may have none, raise it if the others "
            "have no object"
            if matches.of
            else ""
        )
        raise InputError(
            f"{origin} says nothing about {alone} of {images} images ({examples(matches.alone)})"
            f"{other}; expected file names like those of the images{advice}."
        )
    said = []
    if alone:
        said.append(
            f"{origin} says nothing about {alone} of {images} images ({examples(matches.alone)}): "
            "taken for images without objects."
        )
    if matches.unused:
        said.append(
            f"{origin} has {count_of(len(matches.unused), *what)} that no image is called like "
            f"({examples(matches.unused)})."
        )
    if matches.renamed:
        said.append(
            f"{origin} has other endings for {count_of(len(matches.renamed), 'image', 'images')} "
            f"({examples(matches.renamed)}), which were matched by the rest of the name."
        )
    return said
