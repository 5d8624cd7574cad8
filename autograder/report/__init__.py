"""Tables for the terminal, and the class report with its plots."""
