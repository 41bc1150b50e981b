"""Measures storage backends on this machine, each beside the plain bindings that could be used instead.

:mod:`.running` measures, each candidate in a process of its own (:mod:`.child`); :mod:`.results` is what came
out, :mod:`.summary` what it says, and :mod:`.comparing` what differs between two runs. The extra ``bench``
brings the library that keeps the latencies.
"""
