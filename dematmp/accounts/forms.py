"""What sign-up asks beyond the address and the password."""

from django import forms
from django.http import HttpRequest

from dematmp.accounts.models import User


class NamesForm(forms.Form):
    """The name stands on every act: receipts, minutes, decisions."""

    first_name = forms.CharField(
        label="Prénom", max_length=150, widget=forms.TextInput({"autocomplete": "given-name"})
    )
    last_name = forms.CharField(
        label="Nom", max_length=150, widget=forms.TextInput({"autocomplete": "family-name"})
    )
    field_order = ("first_name", "last_name", "email", "password1", "password2")

    def signup(self, request: HttpRequest, user: User) -> None:
        """Called by django-allauth once the account is made."""
        user.first_name = self.cleaned_data["first_name"]
        user.last_name = self.cleaned_data["last_name"]
        user.save(update_fields=["first_name", "last_name"])
