import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('opening', '0004_protectors'),
    ]

    operations = [
        migrations.RemoveConstraint(model_name='sealedshare', name='opening_share_once'),
        migrations.AlterField(
            model_name='sealedshare',
            name='protector',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='shares', to='opening.protector'),
        ),
        migrations.AddConstraint(
            model_name='sealedshare',
            constraint=models.UniqueConstraint(fields=('holder', 'protector', 'kind'), name='opening_share_once'),
        ),
        migrations.RemoveField(model_name='keyholder', name='protector'),
    ]
