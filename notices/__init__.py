"""The standard formats in which a procedure is announced (code lists first; eForms, DECP, OCDS in their own issues)."""
