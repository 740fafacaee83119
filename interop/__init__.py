"""Run moqvox against peers that other people wrote; see README.md in this folder.

Kept free of imports: the peers' scripts live below this package and are run by the
peers' own interpreters, which have none of moqvox's dependencies.
"""
