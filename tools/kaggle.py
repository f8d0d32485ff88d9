"""Write folders for Kaggle's command line: the four notebooks, and the package as a dataset.

    python tools/kaggle.py --user NAME

then prints the commands that push them.
"""

import argparse
import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from golf_nb_utils.addresses import without_secrets
from golf_nb_utils.files import (
    MANIFEST,
    Paths,
    explained_if_full,
    explained_if_read_only,
    sha256_file,
    write_json,
    write_manifest,
)
from golf_nb_utils.host import REPOSITORY_ROOT, output_root, replace_what_cannot_be_shown
from golf_nb_utils.settings import (
    MORE,
    ConfigError,
    check_parameters,
    declared,
    read_parameters,
    resolve_model_size,
)

MADE_BY = "python tools/kaggle.py"
DATASET = "golf-feedback-llm"
CONTENT = "golf_feedback"
"""The one folder of the dataset. `--dir-mode zip` uploads it as an archive, which Kaggle unpacks.

With this folder around them or without, the package and the knowledge base lie side by side.
"""
WHEELS = ("textstat", "pyphen", "sacrebleu", "portalocker", "colorama")
"""What requirements.txt asks for and Kaggle's image lacks (its lists of mid-2026), and what these
import that is not there either; all are pure Python."""
COPIED = {"golf_nb_utils": (".py", ".html"), "knowledge": (".md", ".yaml")}
"""The folders of the dataset, and the endings of their files; nothing else is copied."""
LICENCES = ("LICENSE", "LICENSE-DATA.md", "THIRD_PARTY_NOTICES.md")
CLUTTER = (".DS_Store", "Thumbs.db", "desktop.ini")
"""What a file manager puts into a folder that it shows."""


@dataclass(frozen=True)
class Kernel:
    """What a notebook needs on Kaggle: notebooks whose output it reads, GPUs, the network."""

    reads: tuple[str, ...] = ()
    gpu: bool = False
    internet: bool = False


GENERATE, DOWNLOAD, FINETUNE, EVALUATE = (
    "01_generate_data", "02_download_and_convert_gpt2",
    "03_finetune_dataparallel_fp16", "04_sample_and_evaluate",
)  # fmt: skip
KERNELS = {
    GENERATE: Kernel(),
    DOWNLOAD: Kernel(internet=True),
    FINETUNE: Kernel(reads=(GENERATE, DOWNLOAD), gpu=True),
    EVALUATE: Kernel(reads=(GENERATE, DOWNLOAD, FINETUNE), gpu=True),
}
"""By the notebook's name, in the order of pushing."""

NEW = ".new."
"""How the folder begins in which all is written first; a killed run leaves one."""

INSTALL_WHEELS = """\
# The dataset brings what the image lacks; --no-deps and names, so nothing there is replaced.
import subprocess
import sys
from pathlib import Path

for wheel in sorted(Path("/kaggle/input").rglob("wheelhouse/textstat-*.whl"))[:1]:
    found = ["--no-index", "--no-deps", "--find-links", str(wheel.parent)]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *found, {names}])
""".format(names=", ".join(f'"{name}"' for name in WHEELS))


def write_folders(
    user: str, out: Path, parameters: dict | None = None, wheelhouse: bool = False
) -> list[str]:
    """Write the dataset and the four notebooks into `out` and return the commands that push them.

    An `out` that this function wrote before, and nobody has changed since, is replaced. Each
    notebook's parameters cell gets those of `parameters` that it declares. A `model_size` of
    "auto", or none, becomes what GPUs get in all four: left as it is, it would be another in the
    two that run without.

    Raises:
        ConfigError: a user name that Kaggle would refuse, an unknown size, a parameter with the
            secret of an address, or an `out` that holds anything else.
        OSError: the wheels cannot be downloaded, `out` cannot be written, or a file to be copied is
            a link.
    """
    check_user(user)
    parameters = dict(parameters or {})
    for name, value in parameters.items():
        if without_secrets(str(value)) != str(value):
            raise ConfigError(
                f"{name} has an address with a password or a signature, which would be uploaded; "
                "leave it out, and attach the files as a dataset (checkpoint_folder)."
            )
    parameters["model_size"] = resolve_model_size(
        parameters.get("model_size", "auto"), has_gpu=True
    )
    out = Path(os.path.expanduser(out)).resolve()
    check_replaceable(out)
    with explained_if_read_only(out), explained_if_full(out):
        out.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=out, prefix=NEW))
        try:
            _write_dataset(new / "dataset", user, wheelhouse)
            for name in KERNELS:
                _write_kernel(new / name, user, name, parameters, wheelhouse)
            files = [path for path in sorted(new.rglob("*")) if path.is_file()]
            write_manifest(new, MADE_BY, files, user=user, parameters=parameters)
            # The manifest is the last to go and the last to come: it says what is ours.
            for path in sorted(out.iterdir(), key=_is_manifest):
                if path != new:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            for path in sorted(new.iterdir(), key=_is_manifest):
                path.rename(out / path.name)
        finally:
            shutil.rmtree(new)
    return commands(user, out)


def _is_manifest(path: Path) -> bool:
    return path.name == MANIFEST


def check_user(user: str) -> None:
    """Refuse what cannot be a Kaggle user name, by the rule of the kaggle package for owners.

    Raises:
        ConfigError: it is none.
    """
    if not re.fullmatch("[a-z0-9]+(?:[_-][a-z0-9]+)*", user):
        raise ConfigError(
            f"{user!r} is no Kaggle user name; expected lower-case letters and digits, with single "
            "hyphens or underscores between them, as your profile's address ends: kaggle.com/NAME."
        )


def check_replaceable(out: Path) -> None:
    """Refuse an output folder in which something would be lost.

    Raises:
        ConfigError: it is a file, or holds a file that this command did not write or that was
            changed since.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(
            f"{out} is a file; expected a folder to write, so name another with --out."
        )
    files = [
        path
        for path in sorted(out.rglob("*"))
        if (path.is_symlink() or not path.is_dir())
        and not path.relative_to(out).parts[0].startswith(NEW)
        and path.name not in CLUTTER
        and not path.name.startswith("._")
    ]
    if not files:
        return
    # Where a run was killed while it moved its files, the manifest had not been moved yet.
    found = map(_manifest_of, (out / MANIFEST, *out.glob(f"{NEW}*/{MANIFEST}")))
    manifest = next(filter(None, found), None)
    if not manifest:
        raise ConfigError(
            f"{out} is not empty and was not written by this command; "
            "name another folder with --out."
        )
    for path in files:
        name = path.relative_to(out).as_posix()
        written = manifest["files"].get(name)
        if name != MANIFEST and (
            written is None or path.is_symlink() or sha256_file(path) != written["sha256"]
        ):
            what = "was changed since" if written else "does not come from"
            raise ConfigError(
                f"{path} {what} the last run of this command and would be lost; "
                "move it, or name another folder with --out."
            )


def _manifest_of(path: Path) -> dict | None:
    """A manifest that this command wrote."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return None
    is_ours = isinstance(manifest, dict) and manifest.get("made_by") == MADE_BY
    return manifest if is_ours else None


def slug(name: str) -> str:
    """Return the last part of a notebook's address on Kaggle."""
    return "golf-feedback-" + name.replace("_", "-")


def kernel_metadata(user: str, name: str) -> dict:
    """Return the content of kernel-metadata.json for a notebook of KERNELS.

    Every switch is set, because the kaggle package and its documentation differ in their defaults;
    the title is the slug in words, because Kaggle derives the one from the other.
    Format: docs/kernels_metadata.md of Kaggle/kaggle-cli.
    """
    kernel = KERNELS[name]
    metadata = {
        "id": f"{user}/{slug(name)}",
        "title": slug(name).replace("-", " ").capitalize(),
        "code_file": f"{name}.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": kernel.gpu,
        "enable_tpu": False,
        "enable_internet": kernel.internet,
        "dataset_sources": [f"{user}/{DATASET}"],
        "kernel_sources": [f"{user}/{slug(other)}" for other in kernel.reads],
        "competition_sources": [],
        "model_sources": [],
    }
    # Two T4s: Kaggle has no single one.
    return metadata | {"machine_shape": "NvidiaTeslaT4"} if kernel.gpu else metadata


def commands(user: str, out: Path) -> list[str]:
    """Return the commands of the kaggle package that push `out` and fetch the report, in order.

    `out` is an absolute path; comments say when to go on.
    """
    ids = {name: f"{user}/{slug(name)}" for name in KERNELS}

    def at(path: Path) -> str:
        here = Path.cwd()
        return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))

    def push(name: str) -> str:
        return f"kaggle kernels push -p {at(out / name)}"

    return [
        f"kaggle datasets create -p {at(out / 'dataset')} --dir-mode zip"
        "  # again later: version -m TEXT instead of create",
        f"kaggle datasets status {user}/{DATASET}  # until it is ready",
        push(GENERATE),
        f"{push(DOWNLOAD)}  # the internet needs a phone-verified account",
        f"kaggle kernels status {ids[GENERATE]}  # until it is complete",
        f"kaggle kernels status {ids[DOWNLOAD]}  # until it is complete",
        push(FINETUNE),
        f"kaggle kernels status {ids[FINETUNE]}  # until it is complete",
        push(EVALUATE),
        f"kaggle kernels status {ids[EVALUATE]}  # until it is complete",
        f"kaggle kernels output {ids[EVALUATE]} -p {at(out.with_name(out.name + '_results'))}",
    ]


def set_parameters(source: str, parameters: dict) -> str:
    """Return a parameters cell with other literals for the names in `parameters`; comments stay.

    What has no line there goes into that of `more`.
    """
    lines = source.encode().splitlines(keepends=True)
    nodes = {node.targets[0].id: node for node in ast.parse(source).body}
    literals = {name: value for name, value in parameters.items() if name in nodes}
    if others := {name: value for name, value in parameters.items() if name not in nodes}:
        literals[MORE] = ast.literal_eval(nodes[MORE].value) | others
    for name, literal in literals.items():
        # ast counts the columns in bytes.
        node, value = nodes[name], repr(literal).encode()
        line = lines[node.lineno - 1]
        lines[node.lineno - 1] = (
            line[: node.value.col_offset] + value + line[node.value.end_col_offset :]
        )
    return b"".join(lines).decode()


def _write_kernel(folder: Path, user: str, name: str, parameters: dict, wheelhouse: bool) -> None:
    path = _no_link(REPOSITORY_ROOT / "notebooks" / f"{name}.ipynb")
    notebook = json.loads(path.read_text(encoding="utf-8"))
    (cell,) = (
        cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", ())
    )
    given = {key: parameters[key] for key in declared(int(name[:2])) if key in parameters}
    cell["source"] = set_parameters("".join(cell["source"]), given).splitlines(keepends=True)
    if wheelhouse and name == EVALUATE:
        install = {"cell_type": "code", "id": "wheelhouse", "metadata": {}, "outputs": []}
        install |= {"execution_count": None, "source": INSTALL_WHEELS.splitlines(keepends=True)}
        kinds = [cell["cell_type"] for cell in notebook["cells"]]
        notebook["cells"].insert(kinds.index("code"), install)
    write_json(folder / f"{name}.ipynb", notebook)
    write_json(folder / "kernel-metadata.json", kernel_metadata(user, name))


def _no_link(path: Path) -> Path:
    if path.is_symlink():
        raise OSError(f"{path} is a link, which may lead anywhere; put the file itself there.")
    return path


def _write_dataset(folder: Path, user: str, wheelhouse: bool) -> None:
    content = folder / CONTENT
    listed = [REPOSITORY_ROOT / name for name in LICENCES]
    for part, endings in COPIED.items():
        for path in sorted(_no_link(REPOSITORY_ROOT / part).rglob("*")):
            is_hidden = "/." in path.relative_to(REPOSITORY_ROOT).as_posix()
            if not is_hidden and _no_link(path).suffix in endings:
                listed.append(path)
    for path in map(_no_link, listed):
        copy = content / path.relative_to(REPOSITORY_ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)  # not shutil.copy: not every file system has permissions
    if wheelhouse:
        _download_wheels(content / "wheelhouse")
    what = "The package golf_nb_utils and its knowledge base."
    metadata = {
        "title": "Golf feedback LLM",
        "id": f"{user}/{DATASET}",
        # Kaggle's list of licences has no MIT.
        "licenses": [{"name": "other"}],
        "description": f"{what} MIT licence, see {CONTENT}/LICENSE.",
    }
    write_json(folder / "dataset-metadata.json", metadata)


def _download_wheels(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    # A source archive might come otherwise, which Kaggle would unpack and pip would not find.
    command += ["--only-binary", ":all:", "--no-deps"]
    command += ["--constraint", str(REPOSITORY_ROOT / "constraints.txt"), "--dest", str(folder)]
    run = subprocess.run([*command, *WHEELS], capture_output=True, text=True, errors="replace")
    if run.returncode:
        # The first line names the connection or the package, the last one pip's manual.
        reason = without_secrets((run.stderr.strip() or "pip said nothing").splitlines()[0])
        raise OSError(
            f"the wheels cannot be downloaded ({reason}); "
            "turn the network on, or leave --wheelhouse away."
        )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0, or 2 after printing why nothing was written."""
    replace_what_cannot_be_shown()
    what = (
        "Write folders for Kaggle's command line: the four notebooks, and the package as a dataset."
    )
    parser = argparse.ArgumentParser(prog=MADE_BY, description=what)
    parser.add_argument("--user", required=True, help="your Kaggle user name")
    parser.add_argument("--out", type=Path, help="default: kaggle in experimental/")
    parser.add_argument("-f", dest="file", type=Path, metavar="FILE",
                        help="YAML file of parameters; without one 124M")  # fmt: skip
    parser.add_argument("--wheelhouse", action="store_true",
                        help="download what Kaggle's image lacks into the dataset")  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        parameters = read_parameters(options.file) if options.file else {}
        check_parameters(parameters, range(1, 5), has_gpu=True)
        out = options.out or Paths(output_root()).experimental / "kaggle"
        lines = write_folders(options.user, out, parameters, options.wheelhouse)
    except (ConfigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{out} holds a dataset and four notebooks.")
    print("Next, with `pip install kaggle` and the API token of your Kaggle settings:\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
