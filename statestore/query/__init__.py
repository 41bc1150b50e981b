"""Reading a bound topic, and what to look for. The modules say what they are; this one imports none of them,
since declarations need the expressions, and the tables need declarations.
"""
