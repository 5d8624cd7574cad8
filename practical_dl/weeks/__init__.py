"""What the notebooks of one week import: drawings, scales. A notebook imports its own week's alone.

    from practical_dl.weeks import week03
"""
