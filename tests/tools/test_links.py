"""The repository's address has one home, and `make links` writes it wherever it is quoted."""

import difflib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tools import links

REPOSITORY = links.REPOSITORY
NEW = "https://github.com/jane-doe/golf.feedback"


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the files that the repository tracks."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split("\0"):
        if name and (REPOSITORY / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, tmp_path / name)
    return tmp_path


def texts(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_no_old_address_is_left_and_nothing_else_is_changed(copy):
    old, tag = links.published(copy)
    before = texts(copy)
    changed = links.write_links(NEW + ".git/", copy)
    after = texts(copy)
    assert links.published(copy) == (NEW, tag)
    names = {path.relative_to(copy).as_posix() for path in changed}
    assert names == {name for name in before if before[name] != after[name]}
    slugs = [address.removeprefix("https://github.com/").encode() for address in (old, NEW)]
    assert not [name for name, text in after.items() if slugs[0] in text]
    assert all(after[name].replace(slugs[1], slugs[0]) == before[name] for name in names)
    for name in ("README.md", "CITATION.cff", "CHANGELOG.md", "docs/workflow.md"):
        assert slugs[1] in after[name], name
    for path in (copy / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        bootstrap = next(cell for cell in cells if cell["cell_type"] == "code")
        assert f'--branch {tag} {NEW}"' in "".join(bootstrap["source"])


def test_another_version_is_another_tag(copy):
    project = copy / "pyproject.toml"
    old, new = (f'version = "{number}"' for number in (links.published(copy)[1][1:], "7.8.9"))
    project.write_text(project.read_text("utf-8").replace(old, new), encoding="utf-8")
    before = texts(copy)
    address, tag = links.published(copy)
    assert tag == "v7.8.9"
    links.write_links(address, copy)
    for path in [*(copy / "notebooks").glob("*.ipynb"), copy / "docs" / "workflow.md"]:
        text = path.read_text(encoding="utf-8")
        was = before[path.relative_to(copy).as_posix()].decode()
        lines = [
            line for line in difflib.ndiff(was.splitlines(), text.splitlines()) if line[0] == "+"
        ]
        assert len(lines) == 1
        assert f"--branch v7.8.9 {address}" in lines[0]


@pytest.mark.parametrize(
    "address",
    ["", "github.com/a/b", "http://github.com/a/b", "https://example.org/a/b", "https://github.com/a",
     "https://github.com/a/b/c", "https://github.com/a/b c", "https://me:pw@github.com/a/b"],
)  # fmt: skip
def test_what_the_badges_could_not_open_is_refused_and_nothing_is_written(
    address, monkeypatch, capsys
):
    monkeypatch.setattr(Path, "write_bytes", lambda *_: pytest.fail("written"))
    assert links.main([address]) == 2
    assert capsys.readouterr().err.startswith("error: expected https://github.com/OWNER/NAME")
