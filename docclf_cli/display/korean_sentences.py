"""Korean sentences: verdicts, advice, conditions, notes. The English text is the key."""

from collections.abc import Mapping

_GAIN = (
    "On {pages} pages that no trial saw: log loss {loss:+.4f} (95 % {low:+.4f} … {high:+.4f}), macro-F1 {f1:+.1f} points "
    "({f1_low:+.1f} … {f1_high:+.1f}). "
)
_GAIN_KO = (
    "어느 시도도 보지 않은 페이지 {pages}장: 로그 손실 {loss:+.4f} (95 % {low:+.4f} … {high:+.4f}), F1 점수 (Macro) {f1:+.1f}점 "
    "({f1_low:+.1f} … {f1_high:+.1f}). "
)

SENTENCES: Mapping[str, str] = {
    # search for settings
    "Trials, the best first": "시도, 가장 좋은 것부터",
    "trial": "시도",
    "minutes": "분",
    " (start)": " (시작)",
    "complete": "완료",
    "pruned": "조기 종료",
    "failed": "실패",
    "running": "진행 중",
    "{count} more trials are in the table of trials.csv": "나머지 시도 {count}개는 trials.csv 표에 있습니다",
    "Importance": "중요도",
    "parameter": "설정",
    "Settings of the best trial": "가장 좋은 시도의 설정",
    "start": "시작",
    "best": "최고",
    "None of {count} complete trials is better than the starting profile: log loss {loss:.4f} on {pages} held-out pages.": "완료된 시도 {count}개 가운데 시작 프로파일보다 나은 것이 없습니다: 검증 페이지 {pages}장에서 로그 손실 {loss:.4f}.",
    "Trial {best} is the best of {count} complete ones: log loss {loss:.4f} on {pages} held-out pages, and the starting profile has "
    "{start}. These pages chose it, so this gain is too good.": "완료된 시도 {count}개 가운데 {best}번이 가장 좋습니다: 검증 페이지 {pages}장에서 로그 손실 {loss:.4f}, 시작 프로파일은 {start}. 이 페이지로 골랐으므로 이 차이는 실제보다 좋게 보입니다.",
    "Importance of the parameters is shown from {count} complete trials on.": "설정의 중요도는 완료된 시도가 {count}개 이상일 때 보여 줍니다.",
    "Whether it gains anything on new pages is not known: {pages} pages were set apart, and {fewest} are needed.": "새 페이지에서 나아지는지는 알 수 없습니다: 따로 둔 페이지가 {pages}장이고, {fewest}장이 필요합니다.",
    _GAIN + "The gain over the starting profile is shown.": _GAIN_KO + "시작 프로파일보다 나아진 것이 확인되었습니다.",
    _GAIN + "There the starting profile is better: keep it.": _GAIN_KO
    + "여기서는 시작 프로파일이 더 낫습니다: 그대로 쓰십시오.",
    _GAIN + "A gain over the starting profile is not shown.": _GAIN_KO + "시작 프로파일보다 나아졌다고 볼 수 없습니다.",
    # distillation
    "Student and teachers": "학생과 교사",
    "student": "학생",
    "teachers": "교사",
    "clean": "깨끗한 페이지",
    "degraded": "손상된 페이지",
    "networks": "네트워크",
    "million parameters": "파라미터 (백만)",
    "pages per second": "초당 페이지",
    "{pages} held-out pages ({kind}): macro-F1 {f1:+.1f} points against the teachers (95 % {low:+.1f} … {high:+.1f}), log loss "
    "{loss:+.3f} ({loss_low:+.3f} … {loss_high:+.3f}).": "검증 페이지 {pages}장 ({kind}): 교사와 비교해 F1 점수 (Macro) {f1:+.1f}점 (95 % {low:+.1f} … {high:+.1f}), 로그 손실 {loss:+.3f} ({loss_low:+.3f} … {loss_high:+.3f}).",
    "No page is held out from the student and from all teachers, so they are not compared.": "학생과 모든 교사가 함께 검증에 남긴 페이지가 없어 비교하지 않습니다.",
    "Networks alone: {student:.0f} pages per second against {teacher:.0f}, {factor:.1f} times as many; {parameters:.1f} against "
    "{others:.1f} million parameters.": "네트워크만: 초당 {student:.0f}페이지, 교사는 {teacher:.0f}페이지({factor:.1f}배); 파라미터 {parameters:.1f}백만, 교사는 {others:.1f}백만.",
    "The folds of a teacher were trained on pages that the student held out, and taught it on the others: the student's figures on "
    "held-out pages may be slightly too good. Test pages are in neither.": "교사의 폴드는 학생의 검증 페이지로도 학습했고 다른 페이지에서 학생을 가르쳤습니다: 검증 페이지에서 학생의 수치가 조금 좋게 보일 수 있습니다. 시험 페이지는 어느 쪽에도 없습니다.",
    # verdict
    "To sort other pages, write their folder in the place of FOLDER:": "다른 페이지를 분류하려면 FOLDER 자리에 그 폴더를 쓰십시오:",
    "Verdict": "판정",
    "Clearly better than chance; no sign of too few pages, too short a training or over-fitting.": "우연보다 확실히 낫습니다. 페이지 부족, 짧은 학습, 과적합의 조짐이 없습니다.",
    "Too few pages to tell: macro-F1 {f1:.2f} on {pages} may be anything from {low:.2f} to {high:.2f}.": "판단하기에는 페이지가 너무 적습니다: {count}페이지에서 F1 점수 (Macro) {f1:.2f}이지만 {low:.2f}에서 {high:.2f} 사이 어디든 될 수 있습니다.",
    "label more pages": "페이지에 라벨을 더 다십시오",
    "label more pages, or let each page be held out once: --folds 5": "페이지에 라벨을 더 달거나, 모든 페이지를 한 번씩 검증에 쓰십시오: --folds 5",
    "The recipe does not suit a model without pretrained weights: the augmentation '{augmentation}' makes pages too hard "
    "to learn from.": "사전 학습 가중치가 없는 모델에 맞지 않는 설정입니다: '{augmentation}' 증강을 거친 페이지는 배우기에 너무 어렵습니다.",
    "docclf train --data {data} --profile scratch": "docclf train --data {data} --profile scratch",
    "Too few pages to tell: on {pages} even a perfect model could not be told from chance.": "판단하기에는 페이지가 너무 적습니다: 검증 페이지 {count}장으로는 완벽한 모델도 우연과 구별할 수 없습니다.",
    "No better than chance: {agreement:.0%} of {pages} are right, and by chance {chance:.0%} would be.": "우연보다 낫지 않습니다: 검증 페이지 {count}장 가운데 {agreement:.0%}를 맞혔고, 우연이라면 {chance:.0%}입니다.",
    "train longer (--epochs), start from pretrained weights (--pretrained), and look for wrong labels: docclf audit. "
    "Commands that are given no run do not pick this one": "더 오래 학습하고(--epochs), 사전 학습 가중치에서 시작하고(--pretrained), 잘못된 라벨을 찾으십시오: docclf audit. 실행을 지정하지 않은 명령은 이 실행을 고르지 않습니다",
    "Never predicted: {names}.": "한 번도 예측되지 않은 클래스: {names}.",
    "Never predicted: {names} and {more} more.": "한 번도 예측되지 않은 클래스: {names} 외 {more}개.",
    "label more of their pages, and see what they are taken for: {command}": "이 클래스의 페이지에 라벨을 더 달고, 어떤 클래스로 예측되는지 보십시오: {command}",
    "Under-fitted: macro-F1 is as low on the training pages ({train:.2f}) as on held-out ones ({val:.2f}).": "과소적합: 학습 페이지의 F1 점수 (Macro) {train:.2f}이 검증 페이지({val:.2f})만큼 낮습니다.",
    "train longer (--epochs {epochs}), or at another learning rate (--lr)": "더 오래 학습하거나(--epochs {epochs}) 학습률을 바꾸십시오(--lr)",
    "Over-fitted: macro-F1 is {train:.2f} on training pages and {val:.2f} on held-out ones.": "과적합: F1 점수 (Macro)가 학습 페이지에서 {train:.2f}, 검증 페이지에서 {val:.2f}입니다.",
    "label more pages, or vary them more (--augmentation document)": "페이지에 라벨을 더 달거나 증강을 늘리십시오(--augmentation document)",
    "The best epoch is the last one: the model was still learning.": "마지막 에포크가 가장 좋습니다: 모델이 아직 배우는 중이었습니다.",
    "train longer: --epochs {epochs}": "더 오래 학습하십시오: --epochs {epochs}",
    # notes below the metrics
    "These pages chose the best epoch (by {monitor}), so the metrics are slightly optimistic: by about one point of "
    "macro-F1 on 100 pages. Use --split test for an unbiased estimate.": "이 페이지로 최고 에포크를 골랐으므로({monitor} 기준) 수치가 조금 높습니다: 100페이지에서 F1 점수 (Macro) 약 1점. 치우침 없는 "
    "수치는 --split test로 구하십시오.",
    "These pages chose the best epoch (by {monitor}), which made macro-F1 on 100 pages no better than on other pages where it "
    "was measured. Use --split test for an unbiased estimate.": "이 페이지로 최고 에포크를 골랐습니다({monitor} 기준). 재어 본 경우 100페이지의 F1 점수 (Macro)는 다른 페이지에서보다 높지 않았습니다. 치우침 없는 "
    "수치는 --split test로 구하십시오.",
    "Log loss and calibration error are cross-fitted: each page uses a temperature that was fitted on other pages.": "로그 손실과 보정 오차는 교차 적합한 값입니다: 페이지마다 다른 페이지로 맞춘 온도를 씁니다.",
    "Each page was predicted by the one fold that was not trained on it; new pages get the mean of all folds.": "각 페이지는 그 페이지로 학습하지 않은 폴드가 예측했습니다. 새 페이지에는 모든 폴드의 평균을 씁니다.",
    "Instead of that mean, `docclf predict` takes refit.ckpt, which was trained on all pages and measured on none.": "`docclf predict`는 그 평균 대신 모든 페이지로 학습한 refit.ckpt를 씁니다. 그 모델을 잰 페이지는 없습니다.",
    "The model was trained on these pages, so the metrics do not show how good it is on new pages.": "이 페이지로 학습했으므로, 새 페이지에서 얼마나 좋은지는 알 수 없습니다.",
    "The temperature is at a limit of its search range ({low:g} to {high:g}): do not read this model's confidence as a "
    "probability.": "온도가 탐색 범위의 끝({low:g}에서 {high:g})에 있습니다: 이 모델의 확신도를 확률로 읽지 마십시오.",
    # conditions of decisions: precision, unknown pages, costs
    "The precision of {target:g} % holds for pages like the held-out ones, if every page belongs to a known class; if some do "
    "not, name their share with --expect-unknown.": "정밀도 {target:g} %는 검증 페이지와 비슷하고 모두 아는 클래스에 속하는 페이지에서 지켜집니다. 그렇지 않은 페이지가 있으면 그 비율을 --expect-unknown으로 알려 주십시오.",
    "The precision of {target:g} % holds for pages like the held-out ones, if at most {share:g} % of the pages belong to no class "
    "and these are recognised as often as held-out pages of classes that are left out.": "정밀도 {target:g} %는 검증 페이지와 비슷한 페이지에서, 어느 클래스에도 속하지 않는 페이지가 {share:g} % 이하이고 그런 페이지를 빼 둔 클래스의 검증 페이지만큼 알아볼 때 지켜집니다.",
    "About {lost:.1%} of the pages of known classes are called unknown, as among the held-out pages; the column unknown is the "
    "probability where {expected:.0%} of the pages belong to no class.": "아는 클래스의 페이지도 검증 페이지에서처럼 약 {lost:.1%}는 미등록 종류로 판정됩니다. unknown 열은 어느 클래스에도 속하지 않는 페이지가 {expected:.0%}일 때의 확률입니다.",
    "No page can be called unknown with the onnx backend, which gives no features.": "onnx 백엔드는 특징을 내지 않으므로 미등록 종류를 판정할 수 없습니다.",
    "No page can be called unknown without a view of the page as it is (ensemble.tta.include_identity).": "페이지를 그대로 보는 뷰가 없으면 미등록 종류를 판정할 수 없습니다 (ensemble.tta.include_identity).",
    "No page can be called unknown by a model that only reads: its network gives no features of pages.": "텍스트만 읽는 모델은 페이지의 특징을 내지 않으므로 미등록 종류를 판정할 수 없습니다.",
    "No page can be called unknown: {file} holds no score of unknown pages, because it was made by an earlier version or a refit, "
    "or has too few classes (three are needed) or held-out pages.": "미등록 종류를 판정할 수 없습니다: {file}에 그 점수가 없습니다. 이전 버전이나 refit이 만들었거나, 클래스(세 개 필요)나 검증 페이지가 너무 적습니다.",
    "No page is called unknown, because --max-lost is 0.": "--max-lost가 0이므로 미등록 종류로 판정하는 페이지가 없습니다.",
    "No page can be called unknown at --max-lost {share:g}: that takes at least {fewest} held-out pages (or groups of pages).": "--max-lost {share:g}에서는 미등록 종류를 판정할 수 없습니다: 검증 페이지(또는 페이지 그룹)가 {fewest}개 이상 필요합니다.",
    "The features were trained on the classes that are left out, so these shares are too high for classes that training never "
    "saw: measure with pages of such classes (--unknown DIR).": "특징을 학습할 때 빼 둔 클래스도 보았으므로, 이 비율은 학습에 없던 클래스에는 너무 높습니다: 그런 클래스의 페이지로 재십시오 (--unknown 폴더).",
    "These costs hold while every page belongs to a known class and classes are as frequent as here.": "이 비용은 모든 페이지가 아는 클래스에 속하고 클래스의 비율이 여기와 같을 때의 값입니다.",
    "These pages chose the epoch or fitted the temperature, so costs are slightly too low.": "이 페이지로 에포크를 고르거나 온도를 맞추었으므로 비용이 조금 낮게 나옵니다.",
    "as given": "지정한 값",
    "for a precision of {target:g} % on held-out pages": "검증 페이지에서 정밀도 {target:g} %를 위한 값",
    "Predicted by refit.ckpt, which was trained on all pages. Its temperature and its confidence threshold come from the folds, its "
    "sister models, on the pages that each of them held out; no page is left to measure it on.": "모든 페이지로 학습한 refit.ckpt로 예측했습니다. 온도와 기준 확신도는 폴드 모델들이 저마다 남겨 둔 검증 페이지에서 구했습니다. 이 모델을 잴 페이지는 남아 있지 않습니다.",
    # ensembles and views
    "{what} compared with {against}: {found}. {conclusion}": "{what} (비교 대상: {against}): {found}. {conclusion}",
    "the unchanged page": "바꾸지 않은 페이지",
    "the best member": "가장 좋은 멤버",
    "{found} on {pages} held-out pages": "검증 페이지 {pages}장에서 {found}",
    "{found} on {pages} test pages": "시험 페이지 {pages}장에서 {found}",
    "It is worth its cost.": "비용만큼의 값어치가 있습니다.",
    "Leave it out.": "쓰지 마십시오.",
    "It shows no significant gain.": "유의하게 나아지지 않았습니다.",
    "It shows no significant gain on the held-out pages.": "검증 페이지에서 유의하게 나아지지 않았습니다.",
    "Each checkpoint's probabilities use its own temperature.": "체크포인트마다 자신의 온도를 씁니다.",
    "Each member's best epoch was chosen on its held-out pages, so held-out scores of members and methods are slightly optimistic.": "멤버마다 검증 페이지로 최고 에포크를 골랐으므로, 멤버와 방법의 검증 점수가 조금 높게 나옵니다.",
    "No page is held out by all members, so nothing was chosen ({reason}).": "모든 멤버가 함께 검증에 남긴 페이지가 없어 아무것도 고르지 않았습니다 ({reason}).",
    "no page is held out by all members: {reason}": "모든 멤버가 함께 검증에 남긴 페이지가 없음: {reason}",
    "each member was trained on pages that other members hold out": "멤버마다 다른 멤버의 검증 페이지로 학습했음",
    "only {pages} pages can be read and are held out by all members": "모든 멤버가 검증에 남겼고 읽을 수 있는 페이지가 {pages}장뿐",
    "Left out: {methods}, which need at least {fewest} held-out pages ({why}).": "제외: {methods}. 검증 페이지가 {fewest}장 이상 필요합니다 ({why}).",
    "{count} of the pages were trained on by a member: they are predicted but not scored.": "{count}페이지는 어느 멤버가 학습한 페이지입니다: 예측하지만 채점하지 않습니다.",
    "{count} of the pages were trained on: they are predicted but not scored.": "{count}페이지는 학습에 쓴 페이지입니다: 예측하지만 채점하지 않습니다.",
    "{count} of the {total} pages cannot be read and are not scored.": "{total}페이지 가운데 {count}장은 읽을 수 없어 채점하지 않습니다.",
    "{count} of the {total} {split} pages cannot be read and are not scored.": "{split} {total}페이지 가운데 {count}장은 읽을 수 없어 채점하지 않습니다.",
    "{count} of the {total} held-out pages cannot be read and are not scored.": "검증 페이지 {total}장 가운데 {count}장은 읽을 수 없어 채점하지 않습니다.",
    "No page is known to be held out from this model ({reason}).": "이 모델이 검증에 남긴 페이지를 알 수 없습니다 ({reason}).",
    "Held-out pages also chose the model's best epoch, so held-out scores are slightly optimistic.": "검증 페이지로 최고 에포크도 골랐으므로 검증 점수가 조금 높게 나옵니다.",
    "Held-out scores of the merged views are nested: the views for each page were chosen on other held-out pages.": "합친 뷰의 검증 점수는 교차로 잰 것입니다: 페이지마다 다른 검증 페이지로 뷰를 골랐습니다.",
    "The pages have no labels: they are predicted but not scored.": "페이지에 라벨이 없습니다: 예측하지만 채점하지 않습니다.",
    # audit
    "the model agrees with {agreement:.0%} of the labels, and by chance it would agree with {chance:.0%}, which is not significantly "
    "better than chance (p = {p_value:.2g})": "모델이 라벨의 {agreement:.0%}와 일치하고 우연이라면 {chance:.0%}이므로, 우연보다 유의하게 낫지 않습니다 (p = {p_value:.2g})",
    "the model agrees with {agreement:.0%} of the labels: below {least:.0%} most labels that a model doubts are right, and the model "
    "is wrong": "모델이 라벨의 {agreement:.0%}와 일치합니다: {least:.0%}보다 낮으면 모델이 의심하는 라벨은 대부분 맞고, 틀린 것은 모델입니다",
    # adapted statistics
    "Learned again from the pages of the run: {what}.": "실행의 페이지로 다시 학습한 것: {what}.",
    "the temperature": "온도",
    "the score of unknown pages": "미등록 페이지 점수",
    "which side is up": "페이지의 방향",
    "where packets are cut": "묶음을 자르는 위치",
    "the weights of image and text": "이미지와 텍스트의 가중치",
    "Held-out pages show what is lost on pages like those of the training. Whether anything is gained on the arriving ones only their "
    "labels show; a higher confidence does not.": "검증 페이지는 학습 때와 같은 페이지에서 무엇을 잃는지 보여 줍니다. 들어온 페이지에서 나아지는지는 그 라벨만이 보여 주며, 확신도가 높아졌다고 알 수 있는 것은 아닙니다.",
    "The file lies outside of the folder of its run, so `evaluate` finds no held-out pages for it: other pages can be scored.": "파일이 실행 폴더 밖에 있어 `evaluate`가 검증 페이지를 찾지 못합니다. 다른 페이지로는 평가할 수 있습니다.",
    # drift
    "The estimated shares and the accuracy assume that pages of a class look as they did among the held-out pages, and that no page "
    "belongs to no class.": "추정한 비율과 정확도는 한 클래스의 페이지가 검증 페이지에서와 같은 모습이고, 어느 클래스에도 속하지 않는 페이지는 없다고 봅니다.",
    "The false-alarm rate is that of one call: of many calls without any change, this share raises an alarm. A call a week at 0.05 "
    "raises two or three a year; a smaller --alpha raises fewer and finds changes later.": "오경보율은 명령 한 번의 값입니다: 아무 변화가 없어도 이 비율만큼 경보가 납니다. 0.05로 한 주에 한 번이면 한 해에 두세 번입니다. --alpha가 작으면 경보가 줄고 변화를 늦게 찾습니다.",
    "a mean of folds": "폴드의 평균",
    "several views": "여러 뷰의 평균",
    "The newest pages are not tested against held-out pages, because {what} predicted the newest and no held-out page: name earlier "
    "predictions.": "가장 새 페이지는 검증 페이지와 비교하지 않습니다. 새 페이지만 {what}으로 예측했기 때문입니다: 이전 예측을 지정하십시오.",
    # added labels
    "Added labels": "더한 라벨",
    "Added labels, against {run}": "더한 라벨, 비교 대상: {run}",
    "Trained on {pages} and {labels}; {held_out} never trained on.": "더한 페이지 {pages}과 고친 라벨 {labels}로 학습했습니다. 더한 페이지 {held_out}은 학습에 쓰지 않습니다.",
    "{count} added page": "{count}장",
    "{count} added pages": "{count}장",
    "{count} corrected label": "{count}개",
    "{count} corrected labels": "{count}개",
    "{count} added page is": "{count}장",
    "{count} added pages are": "{count}장",
    "{count} page is": "{count}장",
    "{count} pages are": "{count}장",
    "{count} held-out page": "검증 페이지 {count}장",
    "{count} held-out pages": "검증 페이지 {count}장",
    "New: {names}.": "새 클래스: {names}.",
    "Not compared with an earlier run: name it with --from, and training starts from its weights.": "이전 실행과 비교하지 않았습니다: --from으로 지정하면 그 가중치에서 학습을 시작합니다.",
    "On {pages} of the data: {found}.": "데이터의 {pages}에서: {found}.",
    "On {pages} of the added kind: {found}.": "더한 종류의 {pages}에서: {found}.",
    "On pages of the added kind: {pages} too few to say; {fewest} are needed, which about {added} added pages give.": "더한 종류의 페이지: {pages}으로는 말할 수 없습니다. {fewest}장이 필요하고, 페이지를 약 {added}장 더하면 됩니다.",
    "Less often recognised than before: {names}.": "전보다 덜 알아보는 클래스: {names}.",
    "No class is significantly less often recognised than before.": "전보다 유의하게 덜 알아보는 클래스는 없습니다.",
    "{run} is finished since {time}: nothing is left to do.": "{run}: {time}에 끝났습니다. 남은 일이 없습니다.",
    "--allow-changes trains on, for example with more --epochs.": "--allow-changes로 더 학습합니다. 예: --epochs를 늘림.",
}
