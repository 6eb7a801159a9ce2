#!/usr/bin/env python3
"""Checks that dependencies run one way (docs/ARCHITECTURE.md): a folder includes only folders that stand before it in ORDER.

Exit status 1 and one line for each include that points the wrong way, for each private header reached from outside its folder, and for each
source that uses a package its folder must not know.
"""
import pathlib
import re
import sys

# Lower layers first; inside a layer, earlier rows first (a later row may include an earlier one).
LAYERS = [
    ["base", "kernels"],
    ["tensor", "text"],
    ["model", "cache"],
    ["schedule"],
    ["transfer", "peer", "cluster"],
    ["engine", "router"],
    ["frontend", "plan", "sim", "bench", "hub"],
    ["app"],
]
ORDER = {folder: (layer, row) for layer, folders in enumerate(LAYERS) for row, folder in enumerate(folders)}
# Folders that build on a bare GPU machine: the standard library, nlohmann/json and xxhash only.
LEAN = {"base", "kernels", "tensor", "model", "cache", "schedule", "engine"}
HEAVY = re.compile(r"boost/|ucp/|ucs/|uct/|pcre2|prometheus/|openssl/|unicode/|toml\+\+|CLI/")
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.M)


def folder_of(include: str, own: str) -> tuple[str, bool] | None:
    """The Baton folder an include names and whether it is a private header; None for packages and the standard library."""
    parts = include.split("/")
    if parts[0] == "baton" and len(parts) > 2:
        return parts[1], False
    if parts[0] == "kernels":
        return "kernels", False
    if parts[0] in ORDER and len(parts) > 1:
        return parts[0], True
    return None


def check_file(path: pathlib.Path, own: str) -> list[str]:
    problems = []
    for include in INCLUDE.findall(path.read_text(encoding="utf-8")):
        target = folder_of(include, own)
        if target is None:
            if own in LEAN and HEAVY.match(include):
                problems.append(f"{path}: folder {own} must not use <{include}>")
            continue
        folder, private = target
        if folder == own:
            continue
        if private:
            problems.append(f"{path}: {include} is private to {folder}")
        elif folder not in ORDER:
            problems.append(f"{path}: {include} names an unknown folder")
        elif ORDER[folder][0] > ORDER[own][0] or (ORDER[folder][0] == ORDER[own][0] and ORDER[folder][1] > ORDER[own][1]):
            problems.append(f"{path}: {own} may not include {include} (a higher layer)")
    return problems


def main() -> int:
    root = pathlib.Path(__file__).resolve().parent.parent
    problems = []
    files = 0
    for base in ("include/baton", "src"):
        for path in sorted((root / base).rglob("*")):
            if path.suffix not in {".hpp", ".cpp", ".inl", ".cu", ".cuh"}:
                continue
            own = path.relative_to(root / base).parts[0]
            files += 1
            if own not in ORDER:
                problems.append(f"{path}: folder {own} stands in no layer")
                continue
            problems += check_file(path, own)
    for path in sorted((root / "kernels").rglob("*")):
        if path.suffix in {".hpp", ".cpp", ".inl", ".cu", ".cuh"}:
            files += 1
            problems += check_file(path, "kernels")
    for line in problems:
        print(line)
    print(f"layers: {files} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
