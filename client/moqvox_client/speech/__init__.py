"""Speech for the demo agent: recordings, recognition, synthesis and what to answer.

Recognition and synthesis need the extra `demo`; the rest needs nothing.
"""
