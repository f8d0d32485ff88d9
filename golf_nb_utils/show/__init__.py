"""What people look at: figures, marked answers, and the pages of the data and of an evaluation.

Read in this order: plots, samples (03), answers (04), dataset_page, report.
"""
