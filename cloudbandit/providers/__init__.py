"""Providers: what they offer, at what price."""

from cloudbandit.catalogue.prices import Offer, load_offers, stale, validate

__all__ = ["Offer", "load_offers", "stale", "validate"]
