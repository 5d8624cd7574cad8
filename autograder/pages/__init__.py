"""What people look at: feedback, the report on a class, tables in a terminal."""
