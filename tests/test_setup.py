"""What `make` does before everything else, as far as that needs no network."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READ = ("scripts/setup.sh", "requirements.lock", "requirements/model.lock", "setup.py")


def checkout(folder: Path) -> Path:
    """One whose `.venv` is made, without anything in it but the way to its code."""
    for name in READ:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "clawjax").mkdir()
    (folder / "clawjax" / "__init__.py").touch()
    made = folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True, timeout=300)
    (packages,) = made.glob("lib/python3*/site-packages")
    (packages / "clawjax.pth").write_text(f"{folder}\n")
    stamp = "cat requirements.lock requirements/model.lock setup.py | sha256sum"
    is_done = f"{stamp} > .venv/.clawjax-installed"
    subprocess.run(["bash", "-c", is_done], cwd=folder, check=True, timeout=60)
    return folder


def set_up(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "scripts/setup.sh"], cwd=folder, capture_output=True, text=True, timeout=300
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_an_environment_of_another_checkout_is_refused(tmp_path: Path) -> None:
    original = checkout(tmp_path / "it is")
    assert set_up(original).returncode == 0, "nothing is left to be done"
    copy = tmp_path / "copy"
    shutil.copytree(original, copy, symlinks=True)
    told = set_up(copy)
    assert told.returncode == 2
    assert f"runs the code of {original / 'clawjax'}" in told.stderr
    assert f"rm -r '{copy}/.venv'" in told.stderr
    shutil.rmtree(copy / ".venv")
    (copy / ".venv").symlink_to(original / ".venv")
    assert set_up(copy).returncode == 0, "who links to one wants it"
    moved = original.rename(tmp_path / "moved")
    assert "the code of none that is there" in set_up(moved).stderr
