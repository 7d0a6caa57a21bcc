"""Coverage-guided fuzzing of everything that reads bytes off the wire, by the laws in `tests/fuzz_laws.py`.

    python -m pip install atheris                    # in an environment of its own, with submeter in it
    python bench/fuzz_meter.py --seconds 600
    python bench/fuzz_meter.py --input crash-...     # one input again

Works on what is interesting so far, `tests/corpus`, and keeps what it finds beside it in a folder of its own
(`--found`); a failing input is named there, and belongs into the corpus, which `make test` replays.

Never here: a law, and anything the tests need.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "tests" / "corpus"
INPUT_BYTES_MAX = 4096

sys.path.insert(0, str(ROOT / "tests"))
with atheris.instrument_imports(include=["submeter.proxy"]):
    import fuzz_laws
    from fuzz_input import TOKENS


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=int, default=600, help="stop after so long")
    options.add_argument("--runs", type=int, default=-1, help="stop after so many inputs; -1: no limit")
    options.add_argument("--seed", type=int, default=0, help="of all chance; 0: another each time")
    options.add_argument("--found", type=Path, help="folder for new inputs; default: one that is made and named")
    options.add_argument("--input", type=Path, help="check this one input, and nothing else")
    chosen = options.parse_args()
    if chosen.input is not None:
        fuzz_laws.check(chosen.input.read_bytes())
        return
    found = chosen.found or Path(tempfile.mkdtemp(prefix="submeter-fuzz-"))
    found.mkdir(parents=True, exist_ok=True)
    words = found / "words.dict"
    spelled = ["".join(f"\\x{byte:02x}" for byte in token) for token in TOKENS if len(token) < 100]
    words.write_text("".join(f'"{word}"\n' for word in spelled))
    inputs = found / "inputs"
    inputs.mkdir(exist_ok=True)
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={chosen.seconds}",
            f"-runs={chosen.runs}",
            f"-seed={chosen.seed}",
            f"-max_len={INPUT_BYTES_MAX}",
            f"-dict={words}",
            f"-artifact_prefix={found}/",
            "-print_final_stats=1",
            "-timeout=20",
            str(inputs),
            *([str(CORPUS)] if CORPUS.is_dir() else []),
        ],
        fuzz_laws.check,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
