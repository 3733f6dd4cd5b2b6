"""The program itself, inside its launcher."""

import runpy
import sys
import traceback

from agent.launchers import Exit
from agent.launchers.progress import Event, Progress, tell


def run_entry(entry: str) -> str:
    """Run the program; what went wrong, or nothing."""
    try:
        runpy.run_path(entry, run_name="__main__")
        sys.stdout.flush()  # a result that cannot be written is none
    except SystemExit as end:
        return f"the program ended with {end.code}" if end.code else ""
    except BaseException as error:
        traceback.print_exc()
        return f"the program ended with {type(error).__name__}"
    return ""


def failed(code: Exit, sentence: str) -> Exit:
    """Say it, as the last line of a run."""
    tell(Progress(Event.FAILED, fields={"code": str(int(code))}, sentence=sentence))
    return code
