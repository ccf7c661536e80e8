import django.db.models.deletion
from django.db import migrations, models


def one_protector_each(apps, schema_editor):
    """Each holder had one protector, to which its shares are sealed."""
    holders = apps.get_model("opening", "KeyHolder")
    shares = apps.get_model("opening", "SealedShare")
    for holder in holders.objects.order_by("pk").iterator():
        holder.protectors.add(holder.protector_id)
        shares.objects.filter(holder=holder).update(protector=holder.protector_id, checked_at=holder.confirmed_at)


class Migration(migrations.Migration):

    dependencies = [
        ('consultations', '0003_twins'),
        ('opening', '0003_browser'),
    ]

    operations = [
        migrations.AddField(
            model_name='protector',
            name='lost_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='déclaré perdu le'),
        ),
        migrations.AlterField(
            model_name='protector',
            name='kind',
            field=models.CharField(choices=[('passphrase', 'phrase secrète'), ('passkey', "clé d'accès"), ('paper', 'feuille de secours')], max_length=12, verbose_name='nature'),
        ),
        migrations.AlterField(
            model_name='protector',
            name='wrapped',
            field=models.BinaryField(blank=True, null=True, verbose_name='graine scellée'),
        ),
        migrations.AlterField(
            model_name='ceremony',
            name='consultation',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='ceremony', to='consultations.consultation'),
        ),
        migrations.AddField(
            model_name='ceremony',
            name='former_of',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='former_ceremonies_made', to='consultations.consultation'),
        ),
        migrations.AddField(
            model_name='ceremony',
            name='twin',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='consultations.consultation'),
        ),
        migrations.AddField(
            model_name='keyholder',
            name='protectors',
            field=models.ManyToManyField(related_name='+', to='opening.protector'),
        ),
        migrations.AddField(
            model_name='sealedshare',
            name='checked_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='ouverte par son détenteur le'),
        ),
        migrations.AddField(
            model_name='sealedshare',
            name='protector',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='shares', to='opening.protector'),
        ),
        migrations.RunPython(one_protector_each, migrations.RunPython.noop),
    ]
