"""What the photograph-like training data is made of: free packages, fetched and checked.

    python tools/photo_sources.py SOURCES docs/model-cards/photo-sources.tsv

fetches them into SOURCES and writes who made each photograph and model, and under which licence.
No picture of tests/photographs is among them.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

_BACKGROUNDS = "usr/share/backgrounds/mate/nature"
_WALLPAPERS = "usr/share/wallpapers"
_FURNITURE = "usr/share/sweethome3d/furniture"


@dataclass(frozen=True)
class Package:
    """One archive: of Debian (``apt-get download``) or of npm (``npm pack``)."""

    registry: str
    name: str
    version: str
    file: str
    sha256: str


PACKAGES = (
    Package(
        "debian",
        "mate-backgrounds",
        "1.26.0-1",
        "mate-backgrounds_1.26.0-1_all.deb",
        "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
    ),
    Package(
        "debian",
        "plasma-workspace-wallpapers",
        "4:5.27.5-2",
        "plasma-workspace-wallpapers_4%3a5.27.5-2_all.deb",
        "32cd18b71c8c938a18b3b351f217c02ac590e323caa3cf322fbb875ce8892f8b",
    ),
    Package(
        "debian",
        "sweethome3d-furniture",
        "1.8-1",
        "sweethome3d-furniture_1.8-1_all.deb",
        "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668",
    ),
    Package(
        "npm",
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "lobehub-fluent-emoji-3d-1.1.0.tgz",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    ),
)

#: A file of this name says that a folder holds a pack, not packages.
PACKED = "packed.txt"
_LARGEST_MODEL, _LEAST_TEXTURE = 2_000_000, 8_000  # bytes

#: Photographs, with author and licence as their packages state them.
PHOTOGRAPHS = (
    (f"{_BACKGROUNDS}/Aqua.jpg", "Charles Barbin", "GPL-2+"),
    (f"{_BACKGROUNDS}/Blinds.jpg", "Lennart Poettering, Andrea Cimitan", "GPL-2+"),
    (f"{_BACKGROUNDS}/Dune.jpg", "Marco Cogoni, Hylke Bons", "GPL-2+"),
    (f"{_BACKGROUNDS}/FreshFlower.jpg", "Jens Ansorg", "GPL-2+"),
    (f"{_BACKGROUNDS}/Garden.jpg", "Charles Barbin", "GPL-2+"),
    (f"{_BACKGROUNDS}/GreenMeadow.jpg", "Timothy Schellhase, Lapo Calamandrei", "GPL-2+"),
    (f"{_BACKGROUNDS}/LadyBird.jpg", "Charles Barbin", "GPL-2+"),
    (f"{_BACKGROUNDS}/YellowFlower.jpg", "Charles Barbin", "GPL-2+"),
    (f"{_WALLPAPERS}/BytheWater/contents/images/2560x1600.jpg", "Maciej Wiklo", "LGPL-3"),
    (f"{_WALLPAPERS}/ColdRipple/contents/images/2560x1600.jpg", "Risto Saukonpää", "LGPL-3"),
    (f"{_WALLPAPERS}/ColorfulCups/contents/images/2560x1600.jpg", "Dmitri Popov", "LGPL-3"),
    (f"{_WALLPAPERS}/EveningGlow/contents/images/2560x1600.jpg", "Ian Hex", "LGPL-3"),
    (f"{_WALLPAPERS}/FallenLeaf/contents/images/2560x1600.jpg", "Martin Klapetek", "LGPL-3"),
    (f"{_WALLPAPERS}/Grey/contents/images/2560x1600.jpg", "Sigi Sagi", "LGPL-3"),
    (f"{_WALLPAPERS}/Kite/contents/images/2560x1600.jpg", "Risto Saukonpää", "LGPL-3"),
    (f"{_WALLPAPERS}/OneStandsOut/contents/images/2560x1600.jpg", "Risto Saukonpää", "LGPL-3"),
    (f"{_WALLPAPERS}/Path/contents/images/2560x1600.jpg", "Risto Saukonpää", "LGPL-3"),
    (f"{_WALLPAPERS}/summer_1am/contents/images/2560x1600.jpg", "Risto Saukonpää", "LGPL-3"),
)

#: Collections of 3D models with their textures. Each model's author is in its folder.
COLLECTIONS = {
    "BlendSwap-CC-0": "CC0-1.0",
    "BlendSwap-CC-BY": "CC-BY-3.0",
    "KatorLegaz": "CC-BY-3.0-US",
    "Reallusion": "CC-BY-3.0-US",
    "Scopia": "CC-BY-3.0",
}


@dataclass(frozen=True)
class Material:
    """Where the unpacked files lie, each list sorted."""

    photographs: list[Path]
    cutouts: list[Path]
    models: list[Path]
    textures: list[Path]


def material(folder: Path) -> Material:
    """What is in ``folder``; if it is not of photo_pack.py, the packages are fetched first where it
    lacks them, checked against their SHA-256 and unpacked."""
    if not (folder / PACKED).exists():
        _unpack_packages(folder)
    models = folder / "models"
    pictures = [
        folder / package / path
        for path, _, _ in PHOTOGRAPHS
        for package in ("mate-backgrounds", "plasma-workspace-wallpapers")
    ]
    return Material(
        photographs=sorted(path for path in pictures if path.exists()),
        cutouts=_cutouts(folder / "fluent-emoji-3d/package/assets"),
        models=sorted(p for p in models.rglob("*.obj") if p.stat().st_size < _LARGEST_MODEL),
        textures=sorted(p for p in models.rglob("*.jpg") if p.stat().st_size > _LEAST_TEXTURE),
    )


def _unpack_packages(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        archive = folder / package.file
        if not archive.exists():
            _fetch(package, folder)
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != package.sha256:
            raise SystemExit(
                f"'{archive}' has SHA-256 {found}, not {package.sha256}: "
                f"fetch {package.name} {package.version} again."
            )
        target = folder / package.name.split("/")[-1]
        if not target.exists():
            _unpack(archive, target)
    deb = folder / "sweethome3d-furniture" / _FURNITURE
    models = folder / "models"
    for collection in COLLECTIONS:
        if not (models / collection).exists():
            with zipfile.ZipFile(deb / f"{collection}.sh3f") as archived:
                archived.extractall(models / collection)


def licences(folder: Path) -> list[tuple[str, str, str, str]]:
    """Package, file, author and licence of all that :func:`material` gives, file by file but for
    the cut-outs, which have one maker."""
    debian = {p.name: f"Debian {p.name} {p.version}" for p in PACKAGES if p.registry == "debian"}
    rows = []
    for path, author, licence in PHOTOGRAPHS:
        package = "mate-backgrounds" if "/mate/" in path else "plasma-workspace-wallpapers"
        rows.append((debian[package], path, author, licence))
    for collection, licence in COLLECTIONS.items():
        catalogue = folder / "models" / collection / "PluginFurnitureCatalog.properties"
        text = catalogue.read_text("latin-1")
        makers = dict(re.findall(r"^creator#(\d+)=(.*)$", text, re.MULTILINE))
        for number, model in sorted(re.findall(r"^model#(\d+)=/(.*)$", text, re.MULTILINE)):
            rows.append(
                (debian["sweethome3d-furniture"], model.strip(), makers[number].strip(), licence)
            )
    emoji = next(p for p in PACKAGES if p.registry == "npm")
    rows.append((f"npm {emoji.name} {emoji.version}", "assets/*.webp", "Microsoft", "MIT"))
    return sorted(rows)


def _cutouts(folder: Path) -> list[Path]:
    """Emoji without their variants of skin colour and hair, which would crowd out the rest."""
    return sorted(p for p in folder.glob("*.webp") if not re.search(r"1f3f[b-f]|200d", p.stem))


def _fetch(package: Package, folder: Path) -> None:
    commands = {
        "debian": ["apt-get", "download", f"{package.name}={package.version}"],
        "npm": ["npm", "pack", f"{package.name}@{package.version}"],
    }
    subprocess.run(commands[package.registry], cwd=folder, check=True)


def _unpack(archive: Path, target: Path) -> None:
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    debian = archive.suffix == ".deb"
    command = ["dpkg-deb", "-x", archive, part] if debian else ["tar", "xf", archive, "-C", part]
    subprocess.run(command, check=True)
    part.rename(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path, help="folder of the packages")
    parser.add_argument("table", type=Path, help="file to write")
    args = parser.parse_args()
    material(args.sources)
    header = ("package", "file", "author", "licence")
    lines = ["\t".join(row) for row in (header, *licences(args.sources))]
    args.table.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
