"""Whose acts a control authority receives: an arrondissement's, a whole department's, or a region's own.

A prefecture's account names its department on three characters, and its arrondissement; without one (or 0)
it is that of the whole department. `R76` in the place of the department is the prefect of a region (SGAR),
who controls the region and its establishments (CGCT L4142-1): natures 11 to 14.
"""

from collections.abc import Iterable

from django.db.models import Q

from dematmp.accounts.models import Organisation, User

WHOLE = ("", "0")
# `R` and the region's code (code officiel géographique, INSEE) → its departments.
REGIONS = {
    "R01": "971",
    "R02": "972",
    "R03": "973",
    "R04": "974",
    "R06": "976",
    "R11": "075 077 078 091 092 093 094 095",
    "R24": "018 028 036 037 041 045",
    "R27": "021 025 039 058 070 071 089 090",
    "R28": "014 027 050 061 076",
    "R32": "002 059 060 062 080",
    "R44": "008 010 051 052 054 055 057 067 068 088",
    "R52": "044 049 053 072 085",
    "R53": "022 029 035 056",
    "R75": "016 017 019 023 024 033 040 047 064 079 086 087",
    "R76": "009 011 012 030 031 032 034 046 048 065 066 081 082",
    "R84": "001 003 007 015 026 038 042 043 063 069 073 074",
    "R93": "004 005 006 013 083 084",
    "R94": "02A 02B",
}
_REGIONAL = "1"  # the first digit of the nature of a region and of its establishments
_REGION_OF = {
    department: region for region, departments in REGIONS.items() for department in departments.split()
}


def prefectures_of(user: User) -> "list[Organisation]":
    """Those for which this person controls."""
    found = user.organisations("controller").filter(kind="prefecture")
    return list(found.order_by("pk"))


def within(prefectures: Iterable[Organisation], sender: str, *, nature: str) -> Q:
    """The acts whose `sender` (a relation) is in a territory; `nature` is the field that says what it is."""
    found = Q(pk__in=[])
    for each in prefectures:
        if each.department in REGIONS:
            departments = REGIONS[each.department].split()
            found |= Q(
                **{f"{sender}__department__in": departments, f"{sender}__{nature}__startswith": _REGIONAL}
            )
        elif each.department:
            place = {f"{sender}__department": each.department}
            if each.district not in WHOLE:
                place[f"{sender}__district"] = each.district
            found |= Q(**place)
    return found


def controls(department: str, district: str, nature: str, *, prefix: str = "") -> Q:
    """The prefectures that receive the acts of such an authority: the other way round."""
    found = Q(**{f"{prefix}department": department, f"{prefix}district__in": [*WHOLE, district]})
    if nature.startswith(_REGIONAL):
        found |= Q(**{f"{prefix}department": _REGION_OF.get(department, "-")})
    return found


def office(prefecture: Organisation, *, district: str) -> str:
    """How ACTES calls who writes: `IDSousPref`, `IDPref` or `IDSGAR`."""
    if prefecture.department in REGIONS:
        return "IDSGAR"
    return "IDPref" if prefecture.district in WHOLE or district == "0" else "IDSousPref"
