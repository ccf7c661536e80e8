"""Mails, stored in the transaction that causes them, then sent."""

from django.db import models


class Mail(models.Model):
    """One message to one address; `sent_at` is null until the mail server took it."""

    to = models.EmailField("destinataire")
    subject = models.CharField("objet", max_length=200)
    body = models.TextField("texte")
    # What is attached is made when the mail leaves: {"app": the room that makes it, "of": what it is given}.
    attached = models.JSONField("pièces jointes", default=dict, blank=True)
    created_at = models.DateTimeField("créé le")
    sent_at = models.DateTimeField("envoyé le", null=True, blank=True)
    tries = models.PositiveSmallIntegerField("essais", default=0)
    due_at = models.DateTimeField("prochain essai", null=True, blank=True)
    last_error = models.CharField("dernière erreur", max_length=200, blank=True, default="")

    class Meta:
        verbose_name = "courriel"
        indexes = [models.Index(fields=["sent_at", "created_at"], name="mails_unsent")]

    def __str__(self) -> str:
        return self.subject
