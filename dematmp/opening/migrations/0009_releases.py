from django.db import migrations


def say_what_was_released(apps, schema_editor):
    """Sessions released before phases existed opened every kind at once."""
    sessions = apps.get_model("opening", "OpeningSession")
    for session in sessions.objects.filter(released_at__isnull=False, releases=[]).select_related("consultation"):
        at = session.released_at.isoformat(timespec="microseconds")
        session.releases = [{"kinds": session.consultation.kinds, "at": at, "by": "", "holders": []}]
        session.save(update_fields=["releases"])


class Migration(migrations.Migration):

    dependencies = [
        ('opening', '0008_cards'),
    ]

    operations = [
        migrations.RunPython(say_what_was_released, migrations.RunPython.noop),
    ]
