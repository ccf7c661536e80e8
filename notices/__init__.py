"""The standard formats in which a procedure is announced (code lists first.

EForms, DECP, OCDS in their own issues).
"""
