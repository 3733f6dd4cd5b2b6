"""A program out of a command line, `python demo.py 8 {vote}`: for scripts that have no manifest.

Everything that must be equal for all is in the program's hash: the script and its words. A word
{name} stands for a private input, a whole number that each party gives by --input name=….
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from agent.errors import UsageMistake
from agent.launch.manifest import FILE_NAME, MAX_PARTIES, PLACE
from agent.launch.program import Program, from_files, load_file


def from_script(adapter: str, words: Sequence[str]) -> Program:
    """The program that runs this script, alone, with these words.

    Raises: UsageMistake, ProgramError.
    """
    if len(words) < 2 or not re.fullmatch(r"python[0-9.]*", Path(words[0]).name):
        raise UsageMistake(
            "with --adapter comes a script and its words",
            f"agent run --adapter {adapter} --with DID -- python demo.py 8",
        )
    script = Path(words[1])
    described = _manifest(adapter, script.name, words[2:])
    files = {FILE_NAME: described.encode(), script.name: load_file(script)}
    return from_files(files, f"{script}: ")


def _manifest(adapter: str, entry: str, words: Sequence[str]) -> str:
    name = re.sub(r"[^a-z0-9_]", "_", Path(entry).stem.lower())[:60]
    lines = [
        f"name = {json.dumps(name if name[:1].isalpha() else f'script_{name}')}",
        f"title = {_text(f'The script {entry} as it is')}",
        f"adapter = {_text(adapter)}",
        f"entry = {_text(entry)}",
        f"words = [{', '.join(map(_text, words))}]",
        f"parties = {{ min = 2, max = {MAX_PARTIES} }}",
        f'opens = [{{ what = {_text(f"whatever {entry} prints")}, to = "self" }}]',
    ]
    for place in sorted({place for word in words for place in PLACE.findall(word)}):
        lines += ["[[inputs]]", f'name = "{place}"', 'type = "integer"']
        lines += [f'title = "{place}"', f"min = {-(2**63)}", f"max = {2**63 - 1}"]
    return "\n".join(lines) + "\n"


def _text(word: str) -> str:
    if not word.isprintable():
        raise UsageMistake(f"{word!r} cannot be a word of a script")
    return json.dumps(word, ensure_ascii=False)
