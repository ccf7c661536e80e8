"""The literal paths of S2LOW."""

from django.urls import path, re_path

from dematmp.api.s2low import admin, connexion, lists, posts, reads

_M = "modules/actes/"
_J = f"{_M}api/"
_U, _A, _G = "admin/users/", "admin/authorities/", "admin/groups/"

urlpatterns = [
    path("api/test-connexion.php", connexion.test_connexion),
    path("api/test-rgs.php", connexion.test_rgs),
    path("api/info-connexion.php", connexion.info_connexion),
    path("api/get-nounce.php", connexion.get_nounce),
    path("login.php", connexion.login),
    path(f"{_M}actes_transac_create.php", posts.create),
    path(f"{_M}actes_transac_cancel.php", posts.cancel),
    path(f"{_M}actes_transac_reponse_create.php", posts.reply),
    path(f"{_M}actes_transac_close.php", posts.close),
    path(f"{_M}actes_transac_submit.php", posts.submit),
    path(f"{_M}actes_transac_get_env_serial.php", posts.env_serial),
    path(f"{_M}actes_transac_post_confirm_api.php", posts.confirm),
    path(f"{_M}actes_transac_post_confirm_api_multi.php", posts.confirm_many),
    path(f"{_M}actes_transac_set_archive_url.php", posts.archive_url),
    path(f"{_M}actes_classification_fetch.php", posts.classification_fetch),
    path(f"{_M}actes_classification_request.php", posts.classification_request),
    path(f"{_M}actes_transac_get_status.php", reads.status),
    path(f"{_M}actes_transac_get_document.php", reads.document),
    path(f"{_M}actes_transac_get_files_list.php", reads.files_list),
    path(f"{_M}actes_transac_get_tampon.php", reads.tampon),
    path(f"{_M}actes_transac_get_ARActe.php", reads.receipt),
    path(f"{_M}actes_download_file.php", reads.download),
    path(f"{_M}actes_create_pdf.php", reads.bordereau_pdf),
    path(f"{_J}actes_status.php", lists.status_list),
    path(f"{_J}number_actes.php", lists.number_of_acts),
    path(f"{_J}list_actes.php", lists.list_acts),
    path(f"{_J}list_document_prefecture.php", lists.letters),
    path(f"{_J}document_prefecture_mark_as_read.php", lists.mark_as_read),
    path(f"{_J}nb_actes_by_authorities_and_date.php", lists.counts),
    path(f"{_J}actes_sae_status.php", lists.archiving),
    path(f"{_U}api-list-login.php", connexion.list_login),
    path(f"{_U}admin_users.php", admin.users),
    path(f"{_U}admin_user_detail.php", admin.user_detail),
    path(f"{_U}admin_user_edit_handler.php", admin.user_edit),
    path(f"{_A}admin_authorities.php", admin.authorities),
    path(f"{_A}admin_authority_detail.php", admin.authority_detail),
    path(f"{_A}admin_authority_edit_handler.php", admin.authority_edit),
    path(f"{_A}admin_authority_types.php", admin.authority_types),
    path(f"{_U}admin_users_role.php", admin.roles),
    path(f"{_G}admin_groups.php", admin.groups),
    path("admin/modules/admin_modules.php", admin.modules),
    path(_M, connexion.home),
    path(f"{_M}index.php", connexion.home),
    re_path(r"^modules/[a-z_/]+\.php$", connexion.unknown),
    re_path(r"^admin/[a-z_/]+\.php$", admin.unknown),
]
