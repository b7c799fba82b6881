"""Serving engines: knobs as data, starting, readiness, stopping.

An engine sees only a `cloudbandit.core.protocols.Host`, so that it runs wherever there is one.
"""
