"""The journal's rows: append-only entries, the tiles of their Merkle tree, one head."""

from django.db import models


class Head(models.Model):
    """The single row that every append locks last."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    size = models.PositiveBigIntegerField("nombre d'entrées", default=0)
    note = models.TextField("point de contrôle signé", default="")
    published_size = models.PositiveBigIntegerField("nombre d'entrées publiées", default=0)
    published_note = models.TextField("point de contrôle publié", default="")

    class Meta:
        verbose_name = "tête du journal"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(id=1),
                name="audit_one_head",
                violation_error_message="Le journal n'a qu'une tête.",
            )
        ]

    def __str__(self) -> str:
        return f"journal de {self.size} entrées"


class PublicCheckpoint(models.Model):
    """A checkpoint that the public saw, with the cosignatures of witnesses and a token over its text."""

    size = models.PositiveBigIntegerField("nombre d'entrées", unique=True)
    note = models.TextField("point de contrôle signé")
    published_at = models.DateTimeField("publié le")
    token_request = models.BinaryField("demande du jeton", null=True, blank=True)
    token = models.BinaryField("jeton d'horodatage", null=True, blank=True)
    token_authority = models.CharField("autorité d'horodatage", max_length=200, blank=True, default="")
    token_at = models.DateTimeField("heure du jeton", null=True, blank=True)

    @property
    def name(self) -> str:
        """Of its file, under checkpoints/."""
        return str(self.size)

    class Meta:
        verbose_name = "point de contrôle publié"
        ordering = ["size"]

    def __str__(self) -> str:
        return f"{self.size} entrées"


class Tile(models.Model):
    """Concatenated 32-byte hashes of one tile (C2SP tlog-tiles), 1 to 256 of them."""

    level = models.PositiveSmallIntegerField()
    index = models.PositiveBigIntegerField()
    hashes = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["level", "index"], name="audit_tile_once")]

    def __str__(self) -> str:
        return f"tile {self.level}/{self.index}"


class Entry(models.Model):
    """One event. `leaf` is public and names nobody; `record` and `nonce` prove it to who holds them."""

    index = models.PositiveBigIntegerField("rang", unique=True)
    kind = models.CharField("nature", max_length=40)
    consultation = models.UUIDField(null=True, blank=True, db_index=True)
    subject = models.UUIDField("objet concerné", null=True, blank=True, default=None)
    at = models.DateTimeField("heure")
    leaf = models.BinaryField("feuille publique")
    record = models.BinaryField("enregistrement")
    nonce = models.BinaryField()

    class Meta:
        verbose_name = "entrée du journal"
        verbose_name_plural = "entrées du journal"
        ordering = ["index"]
        indexes = [models.Index(fields=["kind", "index"], name="audit_entry_by_kind")]

    def __str__(self) -> str:
        return f"{self.index} {self.kind}"


class EntryToken(models.Model):
    """A token over SHA-256 of an entry's record, as the authority gave it (RFC 3161, DER)."""

    entry = models.OneToOneField(Entry, models.PROTECT, related_name="token")
    request = models.BinaryField("demande")
    response = models.BinaryField("réponse")
    authority = models.CharField("autorité d'horodatage", max_length=200)
    at = models.DateTimeField("heure du jeton")

    class Meta:
        verbose_name = "jeton d'une entrée"

    def __str__(self) -> str:
        return f"jeton de l'entrée {self.entry.index}"


class PreservationToken(models.Model):
    """A token over something that is kept for years; the next one is over it too (signing/preserving.py)."""

    subject = models.UUIDField("objet conservé")
    rank = models.PositiveSmallIntegerField("rang")
    response = models.BinaryField("réponse")
    authority = models.CharField("autorité d'horodatage", max_length=200)
    at = models.DateTimeField("heure du jeton")

    class Meta:
        verbose_name = "jeton de conservation"
        constraints = [models.UniqueConstraint(fields=["subject", "rank"], name="audit_preserved_once")]

    def __str__(self) -> str:
        return f"jeton {self.rank} de {self.subject}"
