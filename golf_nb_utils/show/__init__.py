"""What people look at: figures, and the report of an evaluation.

Read in this order: plots, report.
"""
