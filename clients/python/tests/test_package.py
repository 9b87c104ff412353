"""The package as it is installed."""

import json
import os
import random
import re
import subprocess
import tempfile
import unittest

from support import Case, Service

HERE = os.path.dirname(os.path.abspath(__file__))
README = os.path.join(HERE, "..", "README.md")


class PackageTest(Case):
    def setUp(self):
        self.service = Service()
        # A Python that has the package and the standard library, and nothing else.
        self.python = os.environ["HEADWAY_BARE_PYTHON"]

    def run_bare(self, *arguments, **options):
        environment = self.environment(
            self.service.url, PYTHONPATH=os.environ.get("PYTHONPATH", "")
        )
        return subprocess.run(
            [self.python, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            **options,
        )

    def test_the_lines_of_the_readme_work_as_they_are_written(self):
        with open(README) as file:
            text = file.read()
        (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        (command,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        self.assertEqual(command, "python3 nightly.py\n")
        before = {each["id"] for each in self.jobs()}
        with tempfile.TemporaryDirectory() as directory:
            with open(os.path.join(directory, "nightly.py"), "w") as file:
                file.write(program)
            ended = self.run_bare("nightly.py", cwd=directory)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        made = {
            each["name"]: (each["status"], each["processedCount"], each["jobType"])
            for each in self.jobs()
            if each["id"] not in before
        }
        self.assertEqual(made.get("Nightly import"), ("completed", 40, "nightly"))
        self.assertEqual(made.get("Export"), ("completed", 1200, "nightly"))

    def jobs(self):
        query = "includeCompleted=true&pageSize=100&jobType=nightly"
        return self.service.call("GET", f"/jobs?{query}")["items"]

    def test_importing_it_imports_nothing_but_the_standard_library_and_starts_nothing(self):
        ended = self.run_bare(
            "-c",
            """
import sys, signal, threading
before = signal.getsignal(signal.SIGTERM), sys.excepthook
import headway, headway.logging, headway.keras, headway.loops
assert (signal.getsignal(signal.SIGTERM), sys.excepthook) == before
assert threading.active_count() == 1
strange = {
    getattr(each, "__file__", None)
    for each in list(sys.modules.values())
    if "site-packages" in str(getattr(each, "__file__", "")) and not each.__name__.startswith(("headway", "_"))
}
assert not strange, strange
import os
assert os.path.exists(os.path.join(os.path.dirname(headway.__file__), "py.typed"))
""",
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))

    def test_texts_within_a_line_are_made_to_fit_by_the_rule_of_the_service(self):
        from headway._texts import fit_shown

        parts = [0, 9, 10, 32, 65, 0x7F, 0x85, 0xA0, 0xAD, 0x34F, 0x61C, 0x115F, 0x180B, 0x200B]
        parts += [0x200C, 0x200D, 0x2028, 0x202E, 0x2060, 0x2800, 0xFE0F, 0xFEFF, 0xD800, 0x1F3F4]
        parts += [0x1F98A, 0xE0001, 0xE0020, 0xE007F, 0xE0100, 0x915, 0x627, 0xE9]
        chance = random.Random(19)
        texts = [
            "".join(map(chr, chance.choices(parts, k=chance.randint(1, 7)))) for _ in range(5_000)
        ]
        # The rule itself, as the service has it.
        script = """
import { shownText } from %s
import { readFileSync } from 'node:fs'
console.log(JSON.stringify(JSON.parse(readFileSync(0, 'utf8')).map(shownText)))"""
        rule = os.path.abspath(os.path.join(HERE, "../../../dist/contract/shown-text.js"))
        said = subprocess.run(
            [
                os.environ["HEADWAY_TEST_NODE"],
                "--input-type=module",
                "-e",
                script % json.dumps(rule),
            ],
            input=json.dumps(texts),
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual([fit_shown(text, 255) for text in texts], json.loads(said.stdout))

    def test_its_version_is_that_of_headway(self):
        ended = self.run_bare("-c", "import headway; print(headway.__version__)")
        with open(os.path.join(HERE, "../../../package.json")) as file:
            self.assertEqual(ended.stdout.strip(), json.load(file)["version"])


if __name__ == "__main__":
    unittest.main()
