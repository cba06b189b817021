"""Markdown's blocks and sections."""

from __future__ import annotations

from textwrap import dedent

from embedhouse.chunking.blocks import markdown_blocks, paragraph_blocks
from embedhouse.chunking.packing import Boundary


def blocks(text: str) -> list[tuple[str, tuple[str, ...], Boundary]]:
    return [(text[b.start : b.end].strip(), b.section.path, b.before) for b in markdown_blocks(text)]


def test_markdown_blocks_carry_their_heading_path() -> None:
    text = dedent("""\
        Before.

        # Guide #
        Intro.

        ## C#
        Sharp.

        # End
        Done.
        """)
    assert blocks(text) == [
        ("Before.", (), Boundary.BLOCK),
        ("# Guide #", ("Guide",), Boundary.HEADING_1),
        ("Intro.", ("Guide",), Boundary.GLUE),
        ("## C#", ("Guide", "C#"), Boundary.HEADING_2),
        ("Sharp.", ("Guide", "C#"), Boundary.GLUE),
        ("# End", ("End",), Boundary.HEADING_1),
        ("Done.", ("End",), Boundary.GLUE),
    ]


def test_markdown_blocks_glue_a_heading_to_the_deeper_one_that_follows() -> None:
    assert [before for _, _, before in blocks("# A\n## B\ntext\n")] == [
        Boundary.HEADING_1,
        Boundary.GLUE,
        Boundary.GLUE,
    ]


def test_markdown_blocks_take_underlined_headings() -> None:
    assert blocks("Title\n=====\n\nPart\n----\ntext\n")[-1] == ("text", ("Title", "Part"), Boundary.GLUE)


def test_markdown_blocks_see_no_heading_in_code_or_front_matter() -> None:
    text = "---\ntitle: x\n---\n\n```sh\n# a comment\n```\n\n~~~\n## another\n"
    assert [path for _, path, _ in blocks(text)] == [(), (), ()]
    assert [block.by_lines for block in markdown_blocks(text)] == [True, True, True]


def test_markdown_blocks_close_a_fence_only_with_its_own_mark() -> None:
    text = "````\n```\n# no\n````\n# yes\n"
    assert [path for _, path, _ in blocks(text)] == [(), ("yes",)]


def test_markdown_blocks_see_no_heading_without_space_or_indented_as_code() -> None:
    assert [path for _, path, _ in blocks("#hashtag\n\n    # code\n\n####### seven\n")] == [(), (), ()]


def test_markdown_blocks_begin_at_list_items_and_table_rows() -> None:
    text = "Intro:\n- one\n- two\n\n| a |\n| - |\n"
    assert [before for _, _, before in blocks(text)] == [
        Boundary.BLOCK,
        Boundary.SENTENCE,
        Boundary.SENTENCE,
        Boundary.BLOCK,
        Boundary.SENTENCE,
    ]


def test_markdown_blocks_read_every_kind_of_line_end() -> None:
    for line_end in ("\n", "\r\n", "\r"):
        text = line_end.join(["# A", "text", "", "## B", "more"])
        assert [(body, path) for body, path, _ in blocks(text)] == [
            ("# A", ("A",)),
            ("text", ("A",)),
            ("## B", ("A", "B")),
            ("more", ("A", "B")),
        ]


def test_paragraph_blocks_part_at_blank_lines() -> None:
    text = "one\ntwo\n \nthree\r\n\r\nfour"
    assert [text[b.start : b.end] for b in paragraph_blocks(text)] == ["one\ntwo", "three", "four"]
