from bench.idle import Outcome, Sample, show


def sample(system: str, size: int, repeat: int) -> Sample:
    return Sample(system, 1000, repeat, rss_bytes=size * 1000, session_bytes=size, cpu_share=0.25)


def test_the_table_has_medians_and_names_who_is_missing():
    sizes = (10 * 1024, 30 * 1024, 20 * 1024)
    samples = [sample("moqvox", size, repeat) for repeat, size in enumerate(sizes)]
    table = show(Outcome([*samples, sample("naive", 40 * 1024, 0)], {"aiomoqt": "not here"}))
    assert "| moqvox | 1000 | 20 | 25.0% |" in table
    assert "| naive | 1000 | 40 | 25.0% |" in table
    assert "aiomoqt: not here" in table
