"""The account of groups against a plain set."""

from hypothesis import given
from hypothesis import strategies as st

from moqvox.driver.account import Account

ranges = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 8)).map(lambda r: (r[0], r[0] + r[1])),
    max_size=30,
)


@given(ranges, st.integers(0, 60), st.integers(0, 70))
def test_account_agrees_with_a_set(added, start, end):
    account, plain = Account(), set()
    for first, last in added:
        account.add(first, last)
        plain.update(range(first, last + 1))
    assert {n for n in range(80) if n in account} == plain
    missing = [n for a, b in account.missing(start, end) for n in range(a, b + 1)]
    assert missing == [n for n in range(start, end + 1) if n not in plain]


def test_account_is_bounded_and_forgets_the_lowest_gap():
    account = Account()
    for number in range(0, 2 * Account.MAX_RANGES + 2, 2):
        account.add(number, number)
    assert len(account) == Account.MAX_RANGES
    assert 1 in account
    assert 3 not in account


def test_account_of_a_huge_range_costs_nothing():
    account = Account()
    account.add(0, 2**62 - 2)
    assert account.missing(5, 2**61) == []
