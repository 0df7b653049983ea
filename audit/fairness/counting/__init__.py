"""Counts by group, true class and predicted class, from columns of any type, and the rates read off them."""
