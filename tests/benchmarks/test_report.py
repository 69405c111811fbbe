"""The benchmarks' page says what their results say."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report import FOLDER, TABLES, filled, markdown, named, ratios


def test_the_page_has_every_table_as_the_results_say() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in page and f"<!-- end of {name} -->" in page for name in TABLES)
    assert filled(page) == page


def test_what_stands_outside_the_tables_is_kept(tmp_path: Path) -> None:
    page = "before\n<!-- memory -->\nold\n<!-- end of memory -->\nafter"
    assert filled(page, tmp_path) == (
        "before\n<!-- memory -->\nNot measured yet: memory.json, memory_recorded.json.\n"
        "<!-- end of memory -->\nafter"
    )


def test_a_contender_is_called_as_people_call_it() -> None:
    assert named("cql, 6 gradient actions") == "**CQL, 6 gradient actions**"
    assert named("corl cql", "pytorch") == "CORL's CQL"
    assert named("authors' off2on", "suite") == "the authors' Off2On, our settings"
    assert named("sac", "pytorch") == "SAC, PyTorch's settings"


def test_a_ratio_stands_in_the_column_of_its_settings() -> None:
    entry = {"contender": "sac", "settings": "suite"}
    peer = {"contender": "rlkit sac", "settings": "pytorch"}
    value = {"median": 2.0, "lowest": 1.5, "highest": 2.5}
    document = {
        "entries": {"ours": entry, "theirs": peer},
        "ratios": [{"peer": "theirs", "ours": "ours", "processor": value}],
    }
    assert ratios(document).splitlines()[-1] == "| rlkit's SAC / **SAC** | 2.00 (1.50-2.50) |  |  |"


def test_a_table_has_a_line_of_alignment() -> None:
    assert markdown(("a", "b"), [("x", "1")]) == "| a | b |\n|---|--:|\n| x | 1 |"
