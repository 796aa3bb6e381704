"""Checks of text that people wrote: amounts, identifiers, recipients, and damage done by spreadsheets."""
