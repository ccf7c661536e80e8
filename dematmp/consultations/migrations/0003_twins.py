from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('consultations', '0002_hardening'),
    ]

    operations = [
        migrations.AddField(
            model_name='consultation',
            name='former_ceremonies',
            field=models.JSONField(blank=True, default=list, verbose_name='empreintes des répartitions remplacées'),
        ),
        migrations.AddField(
            model_name='consultation',
            name='rehearsed_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='répétition réussie le'),
        ),
        migrations.AddField(
            model_name='consultation',
            name='twin_of',
            field=models.ForeignKey(blank=True, editable=False, null=True, on_delete=models.PROTECT, related_name='twins', to='consultations.consultation'),
        ),
    ]
