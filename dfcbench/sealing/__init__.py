"""Sealed runs: a method works in a process of its own, which is given what the track shows and nothing else.

The harness's side: ``standin`` describes a method without importing it, ``serving`` answers what it asks for, ``process``
starts and ends its process, ``places`` decides what that process may read and write. The method's side: ``door`` is the
first thing that runs there and seals it (``landlock``, ``seccomp``), ``worker`` does what it is told, ``shown`` is the
contest as it sees it. ``wire`` is how the two talk: bytes, numbers and text, never pickles.
"""
