import json
from pathlib import Path

import pytest

from tests.cli.conftest import plain, run


def seen(*words: str, **env: str) -> dict[str, tuple[str, str]]:
    found = json.loads(run("doctor", "--json", *words, width=300, **env).stdout)
    return {check["name"]: (check["state"], check["seen"]) for check in found}


def test_the_doctor_looks_at_python_packages_cache_and_extras(tmp_path: Path) -> None:
    found = seen(OPRO_DSPY_CACHE_DIR=str(tmp_path / "cache"))
    assert found["dspy-ai>=3.4"][0] == "fine"
    assert found["cache folder"][0] == "fine" and "0.0 MB" in found["cache folder"][1]
    assert found["extra plots"] == ("fine", "installed")
    done = run("doctor")
    assert done.exit_code == 0 and "dspy-ai>=3.4" in plain(done.stdout)


def test_a_missing_extra_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["dspy-ai>=3.4", 'no-such-package>=1; extra == "plots"']
    monkeypatch.setattr("opro_dspy.cli.doctor.requires", lambda name: lines)
    assert seen()["extra plots"][0] == "absent"
    assert run("doctor").exit_code == 0


@pytest.mark.parametrize("line", ["dspy-ai>=99", "no-such-package>=1"])
def test_a_package_that_does_not_do_fails(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opro_dspy.cli.doctor.requires", lambda name: [line])
    done = run("doctor")
    assert done.exit_code == 1 and f"pip install '{line}'" in plain(done.stdout)


def test_a_cache_folder_that_cannot_be_made_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("doctor", OPRO_DSPY_CACHE_DIR=str(tmp_path / "file"))
    assert done.exit_code == 1 and "wrong" in plain(done.stdout)


def test_an_lm_is_asked_once(here: Path) -> None:
    (here / "lms.py").write_text(
        "from tests.fakes import scripted_lm\n"
        "good = scripted_lm(lambda text: 'yes')\n"
        "bad = scripted_lm(lambda text: ConnectionError('nobody is there'))\n"
    )
    assert seen("--model", "lms:good")["LM lms:good"] == ("fine", "answered")
    done = run("doctor", "--model", "lms:bad")
    assert done.exit_code == 1 and "nobody is there" in plain(done.stdout)


def test_what_an_lm_says_is_cut_between_words(here: Path) -> None:
    (here / "wordy.py").write_text(
        "from tests.fakes import scripted_lm\n"
        "lm = scripted_lm(lambda text: ConnectionError(200 * 'nobody '))\n"
    )
    state, said = seen("--model", "wordy:lm")["LM wordy:lm"]
    assert state == "wrong" and said.endswith(" nobody …") and 500 < len(said) <= 600
