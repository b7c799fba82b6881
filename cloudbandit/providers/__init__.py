"""Providers: who rents hosts out."""
