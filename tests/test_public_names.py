"""The names that users import."""

import subprocess
import sys

import secateur


def test_every_public_name_is_there() -> None:
    assert sorted(secateur.__all__) == list(secateur.__all__)
    for name in secateur.__all__:
        assert getattr(secateur, name).__doc__
    assert secateur.__version__.count(".") == 2


def test_importing_the_command_line_does_not_wait_for_torch() -> None:
    code = "import secateur.cli.main, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
