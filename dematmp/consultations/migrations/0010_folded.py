from django.db import migrations, models

from dematmp.consultations.queries import searched


def fill(apps, schema_editor):
    consultations = apps.get_model("consultations", "Consultation")
    for each in consultations.objects.only("reference", "title", "object").order_by("pk").iterator():
        folded = searched(f"{each.reference} {each.title} {each.object}")
        consultations.objects.filter(pk=each.pk).update(folded=folded)


class Migration(migrations.Migration):

    dependencies = [
        ("consultations", "0009_withdrawal_entry"),
    ]

    operations = [
        migrations.AddField(
            model_name="consultation",
            name="folded",
            field=models.TextField(default="", editable=False, verbose_name="mots cherchés"),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
