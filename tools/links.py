"""Write the repository's address and the version's tag wherever they are quoted.

    python tools/links.py [https://github.com/you/golf-feedback-llm]

`make links REPOSITORY=...` calls this. pyproject.toml is the home of both: the address goes there
first; without one, what is there is written again, as after a new version.
"""

import re
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
HOST = "https://github.com/"
QUOTING = ("README.md", "CITATION.cff", "CHANGELOG.md", "docs/*.md", "notebooks/*.ipynb")


def published(root: Path = REPOSITORY) -> tuple[str, str]:
    """Return the repository's address and the tag that the notebooks clone."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return project["tool"]["golf_nb_utils"]["repository"], f"v{project['project']['version']}"


def write_links(address: str, root: Path = REPOSITORY) -> list[Path]:
    """Write another address in place of the one in pyproject.toml; return the changed files.

    Raises:
        ValueError: it is no address of a repository on GitHub, which the badges open.
    """
    address = address.removesuffix("/").removesuffix(".git")
    if not re.fullmatch(rf"{re.escape(HOST)}[\w-]+/[\w.-]+", address):
        raise ValueError(f"expected {HOST}OWNER/NAME, found {address!r}; the badges need GitHub.")
    old, tag = published(root)
    # The badges have it without the host.
    place = re.compile(rf"(?<![\w.-]){re.escape(old.removeprefix(HOST))}(?![\w-])")
    quoting = [path for pattern in QUOTING for path in sorted(root.glob(pattern))]
    changed = []
    for path in [root / "pyproject.toml", *quoting]:
        before = path.read_bytes().decode()
        after = place.sub(address.removeprefix(HOST), before)
        after = re.sub(r"--branch v[\w.]+", f"--branch {tag}", after)
        if after != before:
            path.write_bytes(after.encode())
            changed.append(path)
    return changed


def main(arguments: list[str]) -> int:
    """Write the links and say what is left to do; return 0, or 2 for an address that is none."""
    address, tag = published()
    try:
        changed = write_links((arguments or [address])[0])
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("".join(f"{path}\n" for path in changed), end="")
    print(f"The notebooks clone the tag {tag}: git tag {tag}, and push it there.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
