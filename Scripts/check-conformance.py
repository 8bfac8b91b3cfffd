#!/usr/bin/env python3
"""Checks the tables of the articles Conformance8547 and Conformance8548.

    check-conformance.py                            each keyword of the RFCs has its row, in order; what rows name exists
    check-conformance.py --ran FILE... [--scenarios FOLDER]
                                                    also: the tests they name ran and passed, by `swift test --xunit-output` and by
                                                    the scenarios' logs
    check-conformance.py --write                    take the keywords anew from the RFCs' texts

The RFCs' texts are looked for in ../shared/rfc beside the tree. Scripts/rfc-keywords.txt has what was found in them, so that the rows can
be counted without; where they are there, it has to agree with them.
"""
import argparse
import collections
import pathlib
import re
import sys
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXTS = ROOT.parent / "shared" / "rfc"
KEYWORDS = ROOT / "Scripts" / "rfc-keywords.txt"
RFCS = (8547, 8548)
WORD = re.compile(r"\b(?:MUST NOT|MUST|REQUIRED|SHALL NOT|SHALL|SHOULD NOT|SHOULD|NOT RECOMMENDED|RECOMMENDED|MAY|OPTIONAL)\b")
SECTION = re.compile(r"^(\d+(?:\.\d+)*)\.  \S")
EXCUSES = ("not ours", "not used", "not done")
problems = []


def complain(*words):
    problems.append(" ".join(str(word) for word in words))


def keywords_of(text):
    """Section number: its keywords in order. The section that defines them does not count."""
    sections, body = {}, []
    for line in text.replace("\f", "\n").split("\n"):
        if re.match(r"^(Bittau|RFC 854)", line):
            continue
        begins = SECTION.match(line)
        if begins:
            body = []
            if "Requirements Language" not in line:
                sections[begins[1]] = body
        else:
            body.append(line)
    found = {number: WORD.findall(re.sub(r"\s+", " ", " ".join(body))) for number, body in sections.items()}
    return {number: words for number, words in found.items() if words}


def demanded(write):
    """(rfc, section): keywords; from the RFCs' texts where they are, and from the list made of them."""
    texts = {rfc: TEXTS / f"rfc{rfc}.txt" for rfc in RFCS}
    listed = collections.OrderedDict()
    if not write:
        for line in KEYWORDS.read_text().splitlines():
            rfc, section, words = line.split(" ", 2)
            listed[int(rfc), section] = words.split(", ")
    if not all(path.exists() for path in texts.values()):
        print(f"conformance: no RFC texts in {TEXTS}; counted against {KEYWORDS.name}")
        return listed
    read = collections.OrderedDict(
        ((rfc, section), words) for rfc in RFCS for section, words in keywords_of(texts[rfc].read_text()).items())
    if write:
        KEYWORDS.write_text("".join(f"{rfc} {section} {', '.join(words)}\n" for (rfc, section), words in read.items()))
    elif read != listed:
        complain(f"{KEYWORDS.name} is not what the RFCs' texts say")
    return read


class Row:
    def __init__(self, place, cells):
        self.place = place
        self.word, self.asked, self.where, self.shown = (cell.strip() for cell in cells)
        self.files = re.findall(r"`([^`]+)`", self.where)
        self.tests = re.findall(r"`([^`]+)`", self.shown)
        self.is_excused = self.where.startswith(EXCUSES)


def rows_of(rfc):
    """(rfc, section): rows, in the order of the article."""
    path, tables, section = ROOT / "Sources/Tcpcrypt/Tcpcrypt.docc" / f"Conformance{rfc}.md", collections.OrderedDict(), None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        begins = re.match(r"^## (\d\S*) ", line)
        if begins:
            section = begins[1]
            tables[rfc, section] = []
        elif line.startswith("| ") and not line.startswith("| word |"):
            cells = line.strip().strip("|").split("|")
            if len(cells) != 4 or section is None:
                complain(f"{path.name}:{number}: a row has four cells")
                continue
            tables[rfc, section].append(Row(f"{path.name}:{number}", cells))
    return tables


def check_file(row, citation, index):
    name, _, symbol = citation.partition(": ")
    if len(index.get(name, [])) != 1:
        return complain(f"{row.place}: {len(index.get(name, []))} files are called {name}")
    if symbol and not re.search(rf"(?<!\w){re.escape(symbol)}(?!\w)", index[name][0].read_text()):
        complain(f"{row.place}: nothing is called {symbol} in {name}")


def swift_tests():
    """`Suite.function` of everything marked with @Test."""
    found = set()
    for path in (ROOT / "Tests").rglob("*.swift"):
        suite, is_test = None, False
        for line in path.read_text().splitlines():
            outer = re.match(r"^(?:@Suite\S* )?(?:\w+ )*(?:struct|class|enum|extension|actor) (\w+)", line)
            if outer:
                suite = outer[1]
            is_test = is_test or bool(re.match(r"^\s+@Test\b", line))
            function = re.search(r"\bfunc (`[^`]+`|\w+)", line)
            if function and is_test:
                found.add(f"{suite}.{function[1]}")
                is_test = False
    return found


def scenario_texts(name):
    paths = [ROOT / "Scenarios" / name / file for file in ("run", "scenario.yaml")]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        return None
    text = path.read_text() + "".join(part.read_text() for part in sorted(path.parent.glob("*.py")))
    if "corners.sh" in text:
        text += "".join(part.read_text() for part in sorted((ROOT / "Scenarios/tools").glob("corner_*.py")))
    return text


def passed_tests(files):
    """`Suite.function` of what passed; what was skipped did not."""
    passed, failed = set(), set()
    for file in files:
        for case in xml.etree.ElementTree.parse(file).iter("testcase"):
            name = case.get("classname").split(".")[-1] + "." + case.get("name").split("(")[0]
            (failed if len(case) else passed).add(name)
    # Those that need root are skipped by one run and pass in another.
    return passed, failed - passed


def check_scenario_ran(row, citation, folder):
    name, _, text = citation.removeprefix("Scenarios/").partition(": ")
    log = folder / f"{name}.log"
    lines = log.read_text().splitlines() if log.exists() else []
    good = [line for line in lines if line.startswith("ok - ")]
    if not good or any(line.startswith("not ok") for line in lines):
        complain(f"{row.place}: {name} did not run, or failed")
    elif text and not any(text in line for line in good):
        complain(f"{row.place}: {name} asserted nothing of \"{text}\" this time")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ran", nargs="+", default=[])
    parser.add_argument("--scenarios", type=pathlib.Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    wanted, tables = demanded(options.write), collections.OrderedDict()
    for rfc in RFCS:
        tables.update(rows_of(rfc))
    if list(tables) != list(wanted):
        complain("sections differ:", *(f"{rfc} {section}" for rfc, section in set(tables) ^ set(wanted)))
    for key, words in wanted.items():
        ours = [row.word for row in tables.get(key, [])]
        if ours != words:
            complain(f"RFC {key[0]} section {key[1]}: {len(words)} keywords ({', '.join(words)}), {len(ours)} rows ({', '.join(ours)})")
    rows = [row for table in tables.values() for row in table]

    index = collections.defaultdict(list)
    for path in (ROOT / "Sources").rglob("*.*"):
        index[path.name].append(path)
    tests = swift_tests()
    passed, failed = passed_tests(options.ran)
    for row in rows:
        if not row.is_excused and not (row.tests and (row.files or row.where == "the rows below")):
            complain(f"{row.place}: neither an excuse nor a place and a test")
        for citation in row.files:
            check_file(row, citation, index)
        for citation in row.tests:
            if citation.startswith("Scenarios/"):
                name, _, text = citation.removeprefix("Scenarios/").partition(": ")
                scenario = scenario_texts(name)
                if scenario is None or text not in scenario:
                    complain(f"{row.place}: no such scenario or assertion: {citation}")
                elif options.scenarios:
                    check_scenario_ran(row, citation, options.scenarios)
            elif citation not in tests:
                complain(f"{row.place}: no such test: {citation}")
            elif options.ran and citation not in passed:
                complain(f"{row.place}: {citation} {'failed or was skipped' if citation in failed else 'did not run'}")

    for problem in problems:
        print("conformance:", problem)
    counts = {name: sum(row.where.startswith(name) for row in rows) for name in EXCUSES}
    cited = {citation for row in rows for citation in row.tests}
    print(f"conformance: {len(rows)} rows, {len(rows) - sum(counts.values())} met, "
          + ", ".join(f"{count} {name}" for name, count in counts.items())
          + f"; {len(cited)} tests and assertions are named" + (", which ran" if options.ran and not problems else ""))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
