"""The memory's benchmark: its scoring, its household, and that it runs the product on a LoCoMo-shaped file."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from bench import memory
from bench.locomo import load, recall_at, reciprocal_rank
from bench.memory_household import FILE, Household, measure
from handlers.agent.memory.minilm import MiniLM
from handlers.errors import SettingsError
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore

CHAT = [
    {
        "conversation": {
            "speaker_a": "Lena",
            "speaker_b": "Max",
            "session_1_date_time": "1:56 pm on 8 May, 2023",
            "session_1": [
                {"speaker": "Lena", "dia_id": "D1:1", "text": "What did you do at the weekend?"},
                {"speaker": "Max", "dia_id": "D1:2", "text": "I repaired the old rowing boat."},
                {"speaker": "Lena", "dia_id": "D1:3", "text": "Look", "blip_caption": "a photo of a pumpkin"},
            ],
            "session_10_date_time": "9:05 am on 1 June, 2023",
            "session_10": [
                {"speaker": "Max", "dia_id": "D10:1", "text": "We rowed across the lake with it."},
                {"speaker": "Lena", "dia_id": "D10:2", "text": "I am learning to play the cello."},
            ],
        },
        "qa": [
            {"question": "What did Max repair?", "answer": "a boat", "evidence": ["D1:2"], "category": 4},
            {
                "question": "What did Max do with the boat?",
                "answer": "repair it, row",
                "evidence": ["D:1:2; D10:1"],
                "category": 1,
            },
            {"question": "What does Lena learn?", "answer": "cello", "evidence": ["D10:2"], "category": 4},
            {"question": "Nobody knows", "answer": "", "evidence": ["D99:1"], "category": 3},
            {"question": "What does Max learn?", "adversarial_answer": "cello", "evidence": ["D10:2"], "category": 5},
        ],
    }
]


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    path = tmp_path / "chat.json"
    path.write_text(json.dumps(CHAT), encoding="utf-8")
    return path


def test_a_file_is_read_with_its_odd_evidence_ids(chat: Path) -> None:
    (conversation,) = load(chat)
    assert [turn.id for turn in conversation.turns] == ["D1:1", "D1:2", "D1:3", "D10:1", "D10:2"]
    assert conversation.turns[2].text == "Look [image: a photo of a pumpkin]"
    assert conversation.turns[3].at - conversation.turns[0].at == pytest.approx(23.798 * 86_400, rel=1e-3)
    assert [question.evidence for question in conversation.questions] == [
        {"D1:2"},
        {"D1:2", "D10:1"},
        {"D10:2"},
        {"D10:2"},
    ]


@pytest.mark.parametrize("content", ["no JSON", "[1]", '[{"conversation": {}}]', '{"a": 1}'])
def test_another_file_is_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match="is not LoCoMo's"):
        load(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "missing.json")


def test_scoring() -> None:
    rank = [frozenset({"a"}), frozenset({"b", "c"}), frozenset({"d"})]
    assert recall_at(rank, frozenset({"c", "x"}), 2) == 0.5
    assert recall_at(rank, frozenset({"d"}), 2) == 0
    assert recall_at(rank, frozenset({"a", "b", "d"}), 3) == 1
    assert reciprocal_rank(rank, frozenset({"c"})) == 0.5
    assert reciprocal_rank(rank, frozenset({"x"})) == 0


def test_the_command_runs_every_system_and_prints_json(
    chat: Path, data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = memory.main([str(chat), "--json", "--sizes", "0", "--index", "numpy", "--data-dir", str(data_dir)])
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert code == 0, shown.err
    assert document["questions"] == 3
    assert document["recall@10"] == 100.0
    assert document["household"]["passed"] is True
    assert list(document["locomo"]) == [
        "Meadowlark",
        "vector",
        "BM25 (FTS5)",
        "RRF of both",
        "A-MEM, no LLM",
        "A-MEM + links",
    ]
    for figures in document["locomo"].values():
        assert 0 < figures["recall@5"] <= 100
        assert figures["conversations 0-4"]["questions"] == 3
        assert "conversations 5-9" not in figures


def test_a_missing_file_is_bad_input(tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert memory.main([str(tmp_path / "nothing.json"), "--sizes", "0", "--data-dir", str(data_dir)]) == 2
    assert "give the path of locomo10.json" in capsys.readouterr().err


def test_the_household_is_consistent() -> None:
    household = Household.load()
    known = {fact.id for fact in household.facts}
    assert len(known) == len(household.facts) == 300
    assert {fact.day for fact in household.facts} <= set(range(1, 61))
    assert {fact.who for fact in household.facts} == {"nora", "felix", "ida", "tom"}
    assert all(set(question.answers) <= known for question in household.questions)
    about = Counter((fact.subject, fact.attribute) for fact in household.facts if fact.subject)
    assert sum(count == 2 for count in about.values()) >= 30
    text = FILE.read_text("utf-8")
    facts = {fact.id: fact.words for fact in household.facts}
    for _, fact_id, word, _ in household.forget:
        assert word in facts[fact_id]
        assert sum(word in words for words in facts.values()) == 1, text
    private = {fact.id: fact.who for fact in household.facts if fact.private}
    assert all(private[fact_id] == who for who, fact_id, _ in household.secrets)


@pytest.mark.parametrize("kind", ["numpy", "chroma"])
async def test_the_household_passes_its_gates(store: ModelStore, kind: str) -> None:
    model = MiniLM(store.locate("all-minilm-l6-v2", ModelKind.EMBEDDING))
    report = await measure(model, "chroma" if kind == "chroma" else "numpy")
    await model.close()
    assert report.index == kind
    assert report.recall_at_5 >= 90, report.missed
    assert report.stale <= 2
    assert (report.leaks, report.residue, report.came_back) == (0, 0, 0)
    assert report.forgotten == 6
    assert report.passed
