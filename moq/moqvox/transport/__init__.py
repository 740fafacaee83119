"""Connections that carry streams and datagrams, one folder or file for each engine."""
